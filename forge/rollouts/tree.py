"""What the agent can see of a task's work tree: its source files, their symbols, and which tests import what."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from forge.records import FileEdit, Task
from forge.stages.retrieval.index import Index
from forge.stages.retrieval.outline import Outline, from_bytes, key_of, outline_of, to_bytes, uncollected
from forge.stages.retrieval.outlining import outlines
from forge.stages.source.languages import is_shown, language_of, spoken
from forge.stages.source.symbols import is_test_path
from forge.store.cache import Cache
from forge.store.diffs import diff

CACHED = 2_000_000
"""Characters of source, half a second of work, from which on a tree's outlines go into the cache."""


class TaskTree:
    """The source files of `folder`, in the languages that it is written in, with a task's `setup` over them.

    Retrieval does not offer `hidden` paths.

    `kept` says that many tasks are on this folder, so that its files stay in memory, and what retrieval knows of each of them.
    Without it a large tree is remembered in `cache`, if there is one: of the next that is nearly the same only the changes are read.
    """

    def __init__(self, folder: Path, task: Task, hidden: Collection[str] = (), *, kept: bool = True, cache: Cache | None = None) -> None:
        self.task = task
        self.files = dict(_kept_files(folder) if kept else source_files(folder))
        languages = spoken(self.files)
        for edit in task.setup:
            if edit.content is None:
                self.files.pop(edit.path, None)
            elif is_shown(edit.path, languages):
                self.files[edit.path] = edit.content
        offered = [(path, self.files[path]) for path in sorted(self.files) if not is_test_path(path) and path not in hidden]
        found = [_kept_outline(*file) for file in offered] if kept else _outlines(offered, cache)
        self.index = Index.of_files(self.files, {path: outline for (path, _), outline in zip(offered, found, strict=True)})

    def tests_of(self, paths: Collection[str], limit: int) -> list[str]:
        """Visible test files that import one of these modules, at most `limit`."""
        modules = [re.compile(rf"\b{re.escape(module_of(path))}\b") for path in paths]
        tests = [p for p in sorted(self.files) if p.endswith(".py") and is_test_path(p) and "def test" in self.files[p]]
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
    return source_files(folder)


def source_files(folder: Path) -> tuple[tuple[str, str], ...]:
    """Path and text of the source files of a folder that can be read, by path: all of its Python, of other languages what is its own."""
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if language_of(path.name))
    languages = spoken(paths)
    found = []
    for path in (path for path in paths if is_shown(path, languages)):
        try:
            found.append((path, (folder / path).read_text(encoding="utf-8")))
        except (UnicodeDecodeError, OSError):
            continue
    return tuple(found)


@lru_cache(maxsize=16_384)
def _kept_outline(path: str, source: str) -> Outline:
    return outline_of(path, source)


def _outlines(files: Sequence[tuple[str, str]], cache: Cache | None) -> list[Outline]:
    """The outlines of files, in order; those of a large tree from the cache where it has them."""
    if cache is None or sum(len(source) for _, source in files) < CACHED:
        return outlines(files)
    keys = [key_of(*file) for file in files]
    with uncollected():
        known = dict(_read(cache.get(keys)))
    missing = [(key, file) for key, file in zip(keys, files, strict=True) if key not in known]
    made = dict(zip((key for key, _ in missing), outlines([file for _, file in missing]), strict=True))
    cache.put({key: to_bytes(outline) for key, outline in made.items()})
    return [known[key] if key in known else made[key] for key in keys]


def _read(bodies: Mapping[bytes, bytes]) -> Iterator[tuple[bytes, Outline]]:
    """The outlines among what was cached; anything else is made anew."""
    for key, body in bodies.items():
        with suppress(ValueError):
            yield key, from_bytes(body)
