"""Rows of a real git history, for tests of what is done with rows."""

from __future__ import annotations

from pathlib import Path

from forge.config import MiningConfig
from forge.mining.changes import change_of
from forge.mining.history import GitHistory
from forge.mining.row import Row
from forge.records import Commit, Drop, FileChange
from forge.stages.source.symbols import is_test_path, symbols_of
from forge.stages.stage import Change
from forge.store.diffs import diff


def rows_of(path: Path, *, wrong_attempts: int = 1) -> list[Row]:
    """One row for each commit of the history that has a parent and changes Python, newest first."""
    history = GitHistory(path.name, path)
    found = [history.commit(summary) for summary in history.summaries(0, None) if len(summary.parents) == 1]
    history.close()
    return [row_of(commit, wrong_attempts) for commit in found if isinstance(commit, Commit) and commit.files]


def row_of(commit: Commit, wrong_attempts: int = 1) -> Row:
    """A commit as a row, with its change where it has one; negatives come from the files that it touches."""
    pool = [
        symbol
        for file in commit.files
        if file.before is not None and not is_test_path(file.path)
        for symbol in symbols_of(file.old_path or file.path, file.before)
    ]
    change = change_of(commit, lambda: pool, MiningConfig(wrong_attempts=wrong_attempts))
    return Row(
        id=f"{commit.repo}@{commit.sha[:12]}",
        repo=commit.repo,
        commit=commit.sha,
        parent=commit.parents[0],
        authored_at=commit.authored_at,
        message=commit.message.split("\n")[0],
        licence="MIT",
        languages=("python",),
        files=tuple(file.model_copy(update={"diff": _diff(file)}) for file in commit.files),
        change=change if isinstance(change, Change) else None,
        no_change=change.reason if isinstance(change, Drop) else "",
    )


def _diff(file: FileChange) -> str:
    old = {} if file.before is None else {file.old_path or file.path: file.before}
    return diff(old, {} if file.after is None else {file.path: file.after})
