"""CarperAI's tagged diffs: file, source, message and diff as one text, of which the diff alone is learnt.

    <NME> path        <BEF> source before, or ADDFILE       <MSG> message       <DFF> hunks from the first @@ on

Source: OpenELM's `utils/diff_eval.py`, which reads what models trained on this form write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from forge.mining.formats.folder import Line
from forge.mining.formats.format import Source
from forge.mining.formats.lesson import asked
from forge.mining.row import Row
from forge.records import Drop, FileChange, Record
from forge.store.diffs import diff

IGNORED = -100
"""Label of a token that the loss leaves out (PyTorch's `ignore_index`)."""
ADDED = "ADDFILE"
_TAG = re.compile(r"<(NME|BEF|MSG|DFF)>")


class Tagged(Record):
    """A text and the place in it, in characters, from which on it is learnt."""

    text: str
    learnt_from: int


def tagged(file: FileChange, message: str) -> Tagged | Drop:
    """The tagged text of one file of a commit, or why it has none."""
    if file.after is None or file.old_path not in (None, file.path):
        return Drop(sha="", reason="a deleted or renamed file has no tagged diff")
    before = ADDED if file.before is None else file.before
    hunks = _hunks(diff({file.path: file.before}, {file.path: file.after}))
    if not hunks:
        return Drop(sha="", reason="a file without a changed line")
    if any(_TAG.search(text) for text in (file.path, before, message, hunks)):
        return Drop(sha="", reason="a tag in the text itself")
    head = f"<NME> {file.path}\n<BEF> {before}\n<MSG> {message}\n<DFF> "
    return Tagged(text=head + hunks, learnt_from=len(head))


def labels(spans: Sequence[tuple[int, int]], ids: Sequence[int], learnt_from: int) -> list[int]:
    """One label a token: its id where it ends behind `learnt_from`, `IGNORED` elsewhere.

    `spans` are the tokens' places in characters (`offset_mapping`). A token that holds the border is learnt: it is the first
    that says something of the diff. Special tokens have empty spans and are not learnt.
    """
    return [number if end > max(start, learnt_from) else IGNORED for (start, end), number in zip(spans, ids, strict=True)]


def masked(found: Tagged, tokenizer: Any) -> tuple[list[int], list[int]]:
    """Token ids and labels of a tagged text, by a fast tokenizer of `transformers`."""
    encoded = tokenizer(found.text, return_offsets_mapping=True, add_special_tokens=False)
    ids = list(encoded["input_ids"])
    return ids, labels(encoded["offset_mapping"], ids, found.learnt_from)


def tagged_lines(source: Source) -> Iterator[Line | Drop]:
    """`text` and `loss`, the spans of characters that are learnt, for each file of a row."""
    if not isinstance(source, Row):
        yield Drop(sha="", reason="only rows have files before and after")
        return
    message = asked(source)
    if not message:
        yield Drop(sha=source.commit, reason="nothing says what was asked")
        return
    for file in source.files:
        found = tagged(file, message)
        if isinstance(found, Drop):
            yield found
        else:
            fields = {"text": found.text, "loss": [[found.learnt_from, len(found.text)]]}
            about = {"id": f"{source.id}:{file.path}", "source": source.repo, "licence": source.licence}
            yield Line(fields | about, heldout=source.heldout)


def _hunks(patch: str) -> str:
    start = patch.find("\n@@ ")
    return patch[start + 1 :] if start >= 0 else ""
