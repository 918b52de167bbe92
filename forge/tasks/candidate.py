"""A task before it is proven."""

from __future__ import annotations

from typing import Literal

from forge.records import Environment, FileEdit, Record


class Candidate(Record):
    """What `forge.tasks.prove` needs. Before: `tree` + `broken` + `tests`; after: the same with `gold` over it."""

    repo: str
    base_commit: str
    origin: Literal["commit", "injected"]
    operator: str = ""
    commit: str | None = None
    title: str | None
    """What people called it; `None` when nobody did, or poorly."""
    names: tuple[str, ...]
    """Bare names of the functions that gold changes."""
    tree: str
    broken: tuple[FileEdit, ...] = ()
    gold: tuple[FileEdit, ...]
    old: tuple[FileEdit, ...]
    """The files of gold as they are before it."""
    tests: tuple[FileEdit, ...]
    """Whole test files as grading writes them."""
    visible: tuple[FileEdit, ...]
    """The same files as the work tree has them (`None`: not there), hidden tests still in."""
    wanted: tuple[tuple[str, str], ...] = ()
    """(name, path) of what only gold defines and tests import: a statement has to name it."""
    environment: Environment | None = None
    """Where it runs; `None` for forge's own Python."""
    suite: tuple[str, ...] = ()
    """Every other test file of the tree: run only when the candidate's own tests leave nothing that always passes."""
