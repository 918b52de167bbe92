"""Commits that change existing source and tests become candidates: parent tree before, the commit's source after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forge.config import TasksConfig
from forge.records import Commit, CommitSummary, Drop, FileChange, FileEdit
from forge.stages.source.symbols import is_test_path, symbols_of
from forge.stages.statements import title_of
from forge.store.trees import TreeStore
from forge.tasks.candidate import Candidate
from forge.tasks.suite import imported_names, is_test_file, top_level_names

_REGULAR = ("100644", "100755", "000000")


def refusal(summary: CommitSummary, config: TasksConfig) -> str | None:
    """Why a commit is no candidate, judged by its metadata; `None` when it is one."""
    python = [change for change in summary.changes if change.path.endswith(".py")]
    if len(summary.parents) != 1:
        return "merge" if summary.parents else "first commit"
    if not any(change.status in "MR" and not is_test_path(change.path) for change in python):
        return "no existing source modified"
    if not any(change.status in "AMR" and is_test_file(change.path) for change in python):
        return "no tests changed"
    if len(python) > config.max_files:
        return "too many files"
    if any(mode not in _REGULAR for change in summary.changes for mode in (change.mode, change.old_mode)):
        return "link or submodule"
    return None


def files_of(summary: CommitSummary) -> list[str]:
    """The Python files that a candidate touches, under their old and new paths: what the split joins."""
    paths = (path for change in summary.changes for path in (change.path, change.old_path))
    return sorted({path for path in paths if path and path.endswith(".py")})


def derive(commit: Commit, parent: Mapping[str, bytes], trees: TreeStore, *, new_names: bool = False) -> Candidate | Drop:
    """The candidate of a commit; `parent` are the files of its parent's tree, which goes into `trees`.

    `new_names` takes commits whose tests import what only they define: then all tests of such a file fail before.
    """
    sources = [file for file in commit.files if not is_test_path(file.path)]
    tests = [file for file in commit.files if is_test_path(file.path)]
    if not any(file.before is not None and file.after is not None for file in sources):
        return Drop(sha=commit.sha, reason="no existing source modified")
    if not any(is_test_file(file.path) and file.after is not None for file in tests):
        return Drop(sha=commit.sha, reason="no tests changed")
    wanted = _new_names(sources, tests)
    if wanted and not new_names:
        return Drop(sha=commit.sha, reason="tests import what only gold defines")
    gold = [FileEdit(path=file.path, content=file.after) for file in sources]
    gold += [FileEdit(path=file.old_path, content=None) for file in sources if file.old_path]
    visible = [FileEdit(path=file.path, content=_text(parent.get(file.path))) for file in tests]
    return Candidate(
        repo=commit.repo,
        base_commit=commit.parents[0],
        origin="commit",
        commit=commit.sha,
        title=_title(commit.message),
        names=tuple(dict.fromkeys(name for file in sources for name in _changed_names(file.path, file.before, file.after))),
        tree=trees.put(parent),
        gold=tuple(gold),
        old=tuple(FileEdit(path=file.old_path or file.path, content=file.before) for file in sources),
        tests=tuple(FileEdit(path=file.path, content=file.after) for file in tests),
        visible=tuple(visible),
        wanted=tuple(wanted),
    )


def _new_names(sources: Sequence[FileChange], tests: Sequence[FileChange]) -> list[tuple[str, str]]:
    """(name, path) of what only gold defines and a test file imports: before it every test in that file fails."""
    asked = {name for file in tests for name in imported_names(file.after or "")}
    return [
        (name, file.path)
        for file in sources
        for name in sorted((top_level_names(file.after or "") - top_level_names(file.before or "")) & asked)
    ]


def _title(message: str) -> str | None:
    title = title_of(message)
    return None if title is None or "\ufffd" in title else title


def _changed_names(path: str, before: str | None, after: str | None) -> list[str]:
    """Bare names of functions that exist before and have another source after."""
    new = {symbol.name: symbol.source for symbol in symbols_of(path, after or "")}
    old = symbols_of(path, before or "")
    return [symbol.name.split(".")[-1] for symbol in old if new.get(symbol.name) not in (None, symbol.source)]


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8", "replace")
