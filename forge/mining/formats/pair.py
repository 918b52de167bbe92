"""`Pair`: the right edit and a wrong one under the same prompt, for preference training."""

from __future__ import annotations

from collections.abc import Iterator

from forge.mining.row import Row
from forge.records import Drop, Message, Record
from forge.stages import REGISTRY
from forge.stages.edits import format_edits
from forge.stages.planning import plan_of
from forge.stages.stage import Situation


class Pair(Record):
    """Two answers of generation to one prompt."""

    id: str
    heldout: bool
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    source: str
    licence: str = ""


def pairs_of(row: Row) -> Iterator[Pair | Drop]:
    """One pair for each wrong and each half-done edit of a row's change; a row without any is a drop."""
    if row.change is None or not (row.change.wrong or row.change.incomplete):
        yield Drop(sha=row.commit, reason="no wrong edit to reject")
        return
    change = row.change
    situation = Situation(statement=change.statement, symbols=change.touched, plan=plan_of(change.hunks, change.touched, "full"))
    chosen = format_edits(change.hunks, change.touched)
    for number, wrong in enumerate((*change.wrong, *change.incomplete)):
        yield Pair(
            id=f"{row.id}#{number}",
            heldout=row.heldout,
            prompt=REGISTRY["generation"].prompt(situation),
            chosen=chosen,
            rejected=format_edits(wrong, change.touched),
            source=row.repo,
            licence=row.licence,
        )
