"""What the agent can see of a task's work tree: its Python files, their symbols, and which tests import what."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

from forge.records import FileEdit, Symbol, Task
from forge.stages.retrieval import Index
from forge.stages.symbols import is_test_path, symbols_of
from forge.store.diffs import diff


class TaskTree:
    """The Python files of `folder` with a task's `setup` over them; `hidden` paths are not offered by retrieval.

    `kept` says that many tasks are on this folder, so that its files stay in memory.
    """

    def __init__(self, folder: Path, task: Task, hidden: Collection[str] = (), *, kept: bool = True) -> None:
        self.task = task
        self.files = dict(_kept_files(folder) if kept else python_files(folder))
        for edit in task.setup:
            if edit.content is None:
                self.files.pop(edit.path, None)
            elif edit.path.endswith(".py"):
                self.files[edit.path] = edit.content
        offered = [path for path in sorted(self.files) if not is_test_path(path) and path not in hidden]
        self.index = Index([symbol for path in offered for symbol in _symbols(path, self.files[path])])

    def tests_of(self, paths: Collection[str], limit: int) -> list[str]:
        """Visible test files that import one of these modules, at most `limit`."""
        modules = [re.compile(rf"\b{re.escape(module_of(path))}\b") for path in paths]
        tests = [p for p in sorted(self.files) if is_test_path(p) and "def test" in self.files[p]]
        return [p for p in tests if any(m.search(self.files[p]) for m in modules)][:limit]

    def patch(self, edits: Collection[FileEdit]) -> str:
        """Unified diff of these edits, as `git apply` takes it."""
        return diff({edit.path: self.files.get(edit.path) for edit in edits}, {edit.path: edit.content for edit in edits})

    def restored(self, edits: Collection[FileEdit]) -> list[FileEdit]:
        """What takes these edits back."""
        return [FileEdit(path=edit.path, content=self.files.get(edit.path)) for edit in edits]


def module_of(path: str) -> str:
    """Dotted module name of a file: `src/pkg/mod.py` is `pkg.mod`."""
    parts = path.removesuffix(".py").split("/")
    if parts[0] == "src":
        parts = parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@lru_cache(maxsize=64)
def _kept_files(folder: Path) -> tuple[tuple[str, str], ...]:
    # A tree's folder is content-addressed and never changes.
    return python_files(folder)


def python_files(folder: Path) -> tuple[tuple[str, str], ...]:
    """Path and text of the Python files of a folder that can be read."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        try:
            found.append((path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")))
        except (UnicodeDecodeError, OSError):
            continue
    return tuple(found)


@lru_cache(maxsize=8192)
def _symbols(path: str, source: str) -> tuple[Symbol, ...]:
    return tuple(symbols_of(path, source))
