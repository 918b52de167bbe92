"""Texts with marked parts, as `forge data export --to tagged-diff` writes them, to rows that are trained on token by token."""

from __future__ import annotations

import json
from pathlib import Path

from forge.endpoint.tokens import BaseTokenizer
from forge.errors import ConfigError
from forge.records import Example, Lineage

FILE = "train.jsonl"
STAGE = "generation"
"""The stage whose adapter learns from such texts: they end in an edit."""


def is_tagged(folder: Path) -> bool:
    """Whether a folder holds such texts."""
    try:
        with (folder / FILE).open(encoding="utf-8") as lines:
            first = json.loads(lines.readline())
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and {"text", "loss"} <= first.keys()


def read(folder: Path, tokenizer: BaseTokenizer) -> list[Example]:
    """A row of each text: what comes before the marked part is its prompt, and the end token follows.

    No chat template is laid over it. Raises `ConfigError` for a text that is marked in other than one part at its end.
    """
    with (folder / FILE).open(encoding="utf-8") as lines:
        return [_row(number, json.loads(line), tokenizer) for number, line in enumerate(lines, 1)]


def _row(number: int, line: dict[str, object], tokenizer: BaseTokenizer) -> Example:
    text, loss = str(line["text"]), line["loss"]
    if not isinstance(loss, list) or len(loss) != 1 or loss[0][1] != len(text) or not 0 < loss[0][0] < len(text):
        raise ConfigError(f"line {number} of {FILE} marks {loss} of a text of {len(text)} characters; one part at the end can be learnt")
    prompt, answer = tokenizer.split(text, int(loss[0][0]))
    lineage = Lineage(repo=str(line.get("source", "")), commit=str(line.get("id", number)).partition(":")[0])
    return Example(stage=STAGE, messages=(), completion="", prompt_ids=prompt, completion_ids=(*answer, tokenizer.end_id), lineage=lineage)
