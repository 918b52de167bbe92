"""Rows, stage examples and exercises of public sets in, folders that trainers and libraries read out.

    format.py     what a format is: lines of each source, drops counted, a manifest
    folder.py     data files that are written line by line and appear together
    lesson.py     the prompt and answer of a source;  pair.py  a right and a wrong edit under one prompt
    chat.py       Alpaca, chat messages, prompt and completion, preferences
    trainers.py   what LLaMA-Factory and Axolotl want beside the data
    blocks.py     SEARCH/REPLACE blocks, proven by playing them;  edits.py  blocks, unified diffs, retrieved context
    tagged.py     CarperAI's tagged diffs and their loss mask
    graph.py      the code graph of a tree;  graph_text.py  as text
    lintseq.py    a program as error-free insertions;  linter.py  what is an error;  sequences.py  as lines

It reads each source once, holds none, and never decides which of them are kept.
"""

from __future__ import annotations

from forge.mining.formats import chat, edits, graph_text, sequences, tagged, trainers
from forge.mining.formats.format import Format

FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        Format("alpaca", "instruction, input and output, one JSON object a line", chat.alpaca),
        Format("messages", "chat messages with the answer last (ChatML, OpenAI fine-tuning)", chat.messages),
        Format("parquet", "the same chat messages as Parquet", chat.messages, kind="parquet"),
        Format("prompt-completion", "TRL's prompt and completion; the loss leaves the prompt out", chat.prompt_completion),
        Format("preference", "TRL's prompt, chosen and rejected, from wrong edits", chat.preference),
        Format(
            "llama-factory",
            "chat messages and preferences with LLaMA-Factory's dataset_info.json",
            chat.messages_and_preferences,
            trainers.dataset_info,
        ),
        Format("axolotl", "chat messages and preferences with Axolotl's YAML", chat.messages_and_preferences, trainers.axolotl_configs),
        Format("tagged-diff", "CarperAI's <NME> <BEF> <MSG> <DFF> text with its loss spans", tagged.tagged_lines),
        Format("search-replace", "files, what is asked, and SEARCH/REPLACE edits", edits.blocks),
        Format("diff", "files, what is asked, and a unified diff that git applies", edits.patches),
        Format("context", "retrieved files, the task and its solution", edits.triples),
        Format("graph", "the code graph as text and the definitions to change", graph_text.graphs),
        Format("edit-sequence", "programs as LintSeq's error-free insertions", sequences.edit_sequences()),
    )
}
"""The formats by name."""
