"""What every question about a row shows of it."""

from __future__ import annotations

from collections.abc import Sequence

from forge.mining.row import Row
from forge.records import Message, Record
from forge.teacher.prompt import ask_with

MAX_PATCH = 12_000
"""Characters of a diff that are shown; what is longer goes on unseen."""


class Piece(Record):
    """Something that stands around a change, under a title."""

    title: str
    text: str


def question(name: str, row: Row, around: Sequence[Piece] = (), **more: object) -> tuple[Message, ...]:
    """The messages of a prompt file of this package about one row."""
    return ask_with(
        "forge.mining.enrich",
        f"prompts/{name}.jinja",
        repo=row.repo,
        patch=row.diff[:MAX_PATCH],
        around=around,
        instruction=row.instruction,
        message=row.message,
        language=row.languages[0] if row.languages else "the same language",
        **more,
    )
