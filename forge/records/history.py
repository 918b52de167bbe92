"""What is read from git histories."""

from __future__ import annotations

from forge.records.base import Record


class FileChange(Record):
    """One file of a commit: UTF-8 source before and after (`None`: not there); its part of `git diff-tree -M -p` where asked for."""

    path: str
    old_path: str | None = None
    before: str | None
    after: str | None
    diff: str = ""


class Commit(Record):
    """One commit with the contents it changed. `authored_at` is ISO 8601 with offset."""

    repo: str
    sha: str
    parents: tuple[str, ...]
    author_name: str
    author_email: str
    authored_at: str
    message: str
    files: tuple[FileChange, ...]


class PathChange(Record):
    """One changed path of a commit before contents are read: git's status letter, file modes and blob ids."""

    path: str
    old_path: str | None = None
    status: str
    old_mode: str
    mode: str
    old_blob: str
    blob: str


class CommitSummary(Record):
    """A commit's metadata and changed paths, without contents: what the cheap filters look at."""

    repo: str
    sha: str
    parents: tuple[str, ...]
    author_name: str
    author_email: str
    authored_at: str
    message: str
    changes: tuple[PathChange, ...]


class Drop(Record):
    """Something left out; `reason` is the short phrase under which it is counted."""

    sha: str
    reason: str


class Symbol(Record):
    """A function or method in a file: lines are 1-based and inclusive, `source` is their exact text."""

    path: str
    name: str
    signature: str
    source: str
    first_line: int
    last_line: int

    @property
    def key(self) -> str:
        """`path::name`, the way prompts and plans name a symbol."""
        return f"{self.path}::{self.name}"


class Lineage(Record):
    """Where a training row comes from: a commit, or a task and the trajectory that solved it."""

    repo: str
    commit: str | None = None
    task_id: str | None = None
    trajectory_id: str | None = None
    lender_id: str | None = None
    """The trajectory of another task that the answer is from, where it is lent (`forge.rounds.lend`)."""
    round: int = 0
    files: tuple[str, ...] = ()
