"""Small tasks of forge's own over the files of `tests.public_rows`, for tests of what they are exported to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forge.records import FileEdit, Proof, Task
from forge.store.parquet import write_tasks
from forge.store.trees import TreeStore
from tests.public_rows import COMMIT, FAILING, FILES, FIXED, NEW_TESTS, PASSING

TREE = {path: text.encode() for path, text in FILES.items()}


def task(**changes: Any) -> Task:
    """A task whose fix also adds a file without a newline at its end and deletes another."""
    fields: dict[str, Any] = {
        "id": "someone--maths-commit-0123456789ab",
        "repo": "someone/maths",
        "base_commit": COMMIT,
        "origin": "commit",
        "statement": "`double(3)` is 5.",
        "tree": "",
        "setup": (FileEdit(path="pkg/note.py", content="NOTE = 1\n"),),
        "gold": (
            FileEdit(path="pkg/maths.py", content=FIXED),
            FileEdit(path="pkg/more.py", content="MORE = 1"),
            FileEdit(path="pkg/note.py", content=None),
        ),
        "tests": (FileEdit(path="tests/test_maths.py", content=NEW_TESTS),),
        "fail_to_pass": tuple(FAILING),
        "pass_to_pass": tuple(PASSING),
        "files": ("pkg/maths.py", "tests/test_maths.py"),
        "commit": COMMIT,
        "proof": Proof(runs=1, gold_passed=True, noop_failed=True),
    }
    return Task.model_validate(fields | changes)


def workspace(folder: Path, *tasks: Task) -> Path:
    """A workspace's `tasks/` and `trees/` with these tasks, all over `TREE`."""
    tree = TreeStore(folder / "trees").put(TREE)
    write_tasks(folder / "tasks" / "tasks.parquet", [task.model_copy(update={"tree": tree}) for task in tasks])
    return folder
