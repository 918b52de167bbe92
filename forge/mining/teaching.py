"""Rows that are kept become what the stages learn from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import partial

from forge.config import MiningConfig
from forge.mining.changes import change_of
from forge.mining.row import Row
from forge.mining.symbols import NearSymbols
from forge.records import Commit, Drop, Example
from forge.stages import REGISTRY
from forge.stages.source.grammars import WITH_FUNCTIONS
from forge.stages.source.languages import is_shown
from forge.stages.source.symbols import is_test_path
from forge.stages.stage import Change, PromptStyle

NO_SOURCE = "no source that was there before in a language whose functions are known"


def examples_of(change: Change, style: PromptStyle = "full") -> Iterator[Example]:
    """The examples of every stage that one change teaches."""
    for stage in REGISTRY.values():
        yield from stage.from_change(change, style)


def taught(rows: Iterable[Row], near: NearSymbols, config: MiningConfig, heldout: Collection[str] = ()) -> Iterator[Row | Drop]:
    """The rows, each with its change, or with the reason why the stages cannot learn from it; those that nobody could ask for
    are drops. Symbols of `heldout` paths are shown to nobody.
    """
    seen: set[int] = set()
    for row in rows:
        change = _change(row, near, config, heldout)
        if isinstance(change, Change):
            mark = hash((change.statement, change.hunks))
            change = Drop(sha=row.commit, reason="same as another") if mark in seen else change
            seen.add(mark)
        yield _told(row, change)


def commit_of(row: Row) -> Commit:
    """The commit of a row as the stages look at it: its sources alone, nobody's name, no message that says nothing."""
    return Commit(
        repo=row.repo,
        sha=row.commit,
        parents=(row.parent,),
        author_name="",
        author_email="",
        authored_at=row.authored_at,
        message="" if row.poor else row.message,
        files=tuple(file for file in row.files if is_shown(file.path, WITH_FUNCTIONS)),
    )


def _change(row: Row, near: NearSymbols, config: MiningConfig, heldout: Collection[str]) -> Change | Drop:
    commit = commit_of(row)
    if not any(file.before is not None and not is_test_path(file.path) for file in commit.files):
        return Drop(sha=row.commit, reason=NO_SOURCE)
    asked = row.instruction if row.instruction_by == "teacher" else ""
    try:
        change = change_of(commit, partial(near.of, commit), config, heldout, asked=asked)
    except (RecursionError, MemoryError):  # from the parser, on sources made to hurt it
        return Drop(sha=row.commit, reason="too deeply nested")
    return change.model_copy(update={"explanation": row.reasoning}) if isinstance(change, Change) else change


def _told(row: Row, change: Change | Drop) -> Row | Drop:
    if isinstance(change, Change):
        said = {} if row.instruction else {"instruction": change.statement, "instruction_by": "tests"}
        return row.model_copy(update={"change": change, **said})
    if not row.instruction:
        return Drop(sha=row.commit, reason=f"nothing says what was asked: {row.poor or 'no message'}")
    return row.model_copy(update={"no_change": change.reason})
