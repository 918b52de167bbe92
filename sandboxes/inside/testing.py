"""Pytest in a forked process, its results over a private pipe.

Guards against: ids invented or lost by reports, a process that exits early or twice, results written as output. Does
not guard against code that finds the plugin inside this very process and speaks for it: that takes canaries.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"

import pytest
from _pytest.config import _prepareconfig

MESSAGE_CHARS = 400
_OPTIONS = [
    "-q",
    "--tb=native",
    "--capture=sys",
    "--continue-on-collection-errors",
    "--import-mode=prepend",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:junitxml",
    "-p",
    "no:pastebin",
    "-p",
    "no:doctest",
    "-p",
    "no:stepwise",
    "-p",
    "no:faulthandler",
    "-p",
    "no:setuponly",
    "-p",
    "no:setupplan",
    "-o",
    "addopts=",
]
_OWN_FILES = ("conftest.py", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml")
_SHARED_FILES = ("tox.ini", "setup.cfg")
_PYPROJECT = "pyproject.toml"
_HARMLESS = frozenset(("testpaths", "pythonpath", "addopts"))
"""Options that do not bear on a run of given files, or that `Runner` takes care of."""


class Runner:
    """Runs tests in `work`; `prepare` before forking takes pytest's own start (two thirds of a small run) out of each."""

    def __init__(self, work: str) -> None:
        self._work = work
        self._reporter = _Reporter()
        self._session: pytest.Session | None = None

    def prepare(self) -> None:
        """Start a pytest session that stops before it collects. `work` must exist and be empty."""
        os.chdir(self._work)
        config = _prepareconfig(self._arguments([]), [self._reporter])
        session = pytest.Session.from_config(config)
        config._do_configure()
        config.hook.pytest_sessionstart(session=session)
        self._session = session
        os.chdir("/")
        gc.collect()
        gc.freeze()

    def run(self, ids: Sequence[str], fd: int, token: str, path: Sequence[str] | None = None) -> int:
        """Pytest's exit code after running exactly `ids`, one JSON line per event on `fd`, each with `token`.

        `path` says that the folders to import from are on the path already, the work tree among them.

        To be called once, in a process forked for it. A tree that configures pytest gets a session of its own.
        """
        self._reporter.begin(set(ids), fd, token)
        files = [name for name in dict.fromkeys(name.partition("::")[0] for name in ids) if _is_file(self._work, name)]
        if not files:
            self._reporter.emit(collected=[])
            self._reporter.emit(end=0)
            return 0
        if path is None:
            sys.path.insert(0, self._work)
        importlib.invalidate_caches()
        tempfile.tempdir = None
        entries = None if self._session is None else _settings(self._work, files)
        if self._session is None or entries is None:
            return int(pytest.main(self._arguments(files), plugins=[self._reporter]))
        sys.path[:0] = [os.path.normpath(os.path.join(self._work, entry)) for entry in entries]
        self._session.config.args = files
        return _finish(self._session)

    def _arguments(self, files: Sequence[str]) -> list[str]:
        return [f"--rootdir={self._work}", *_OPTIONS, *files]


def _finish(session: pytest.Session) -> int:
    """What `_pytest.main.wrap_session` does from collection on."""
    hook = session.config.hook
    try:
        hook.pytest_collection(session=session)
        hook.pytest_runtestloop(session=session)
        code = pytest.ExitCode.NO_TESTS_COLLECTED if session.testscollected == 0 else pytest.ExitCode.OK
        session.exitstatus = pytest.ExitCode.TESTS_FAILED if session.testsfailed else code
    except pytest.Session.Failed:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    except (KeyboardInterrupt, pytest.exit.Exception):
        session.exitstatus = pytest.ExitCode.INTERRUPTED
    hook.pytest_sessionfinish(session=session, exitstatus=session.exitstatus)
    return int(session.exitstatus)


def _settings(work: str, files: Iterable[str]) -> list[str] | None:
    """Folders to import from, when that is all that the tree tells pytest; `None` when pytest has to read it itself."""
    folders = {""}
    for name in files:
        parts = name.split("/")[:-1]
        folders.update("/".join(parts[: count + 1]) for count in range(len(parts)))
    for folder in folders:
        place = os.path.join(work, folder)
        if any(_is_file(place, name) for name in _OWN_FILES) or any(_mentions_pytest(os.path.join(place, name)) for name in _SHARED_FILES):
            return None
        if folder and _mentions_pytest(os.path.join(place, _PYPROJECT)):
            return None
    return _plain_pyproject(os.path.join(work, _PYPROJECT))


def _plain_pyproject(path: str) -> list[str] | None:
    if not os.path.isfile(path):
        return []
    try:
        # Read even where it does not mention pytest: one that is broken ends a run of pytest, so it has to here.
        with open(path, "rb") as file:
            table = tomllib.load(file).get("tool", {}).get("pytest", {})
        options = table.get("ini_options", {})
        if set(table) - {"ini_options"} or set(options) - _HARMLESS:
            return None
        entries = options.get("pythonpath", [])
        return entries.split() if isinstance(entries, str) else [str(entry) for entry in entries]
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def _mentions_pytest(path: str) -> bool:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return b"pytest" in file.read()
    return False


def _is_file(folder: str, name: str) -> bool:
    return os.path.isfile(os.path.join(folder, name))


class _Reporter:
    """The plugin: deselects what was not asked for, emits what was collected, each outcome, and the end."""

    def __init__(self) -> None:
        self.begin(set(), -1, "")
        self._open: dict[str, tuple[str, str]] = {}
        self._notes: dict[str, str] = {}
        self._lines: dict[str, int] = {}

    def begin(self, ids: set[str], fd: int, token: str) -> None:
        self._ids = ids
        self._fd = fd
        self._token = token

    def emit(self, **event: object) -> None:
        view = memoryview(json.dumps({**event, "token": self._token}).encode() + b"\n")
        while view:
            view = view[os.write(self._fd, view) :]

    def pytest_collect_directory(self, path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        if (path / "__init__.py").is_file():
            return None
        return _NarrowFolder.from_parent(parent, path=path, ids=self._ids)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        wanted = [item for item in items if item.nodeid in self._ids or item.nodeid.partition("::")[0] in self._ids]
        config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
        items[:] = wanted
        self.emit(collected=[item.nodeid for item in wanted])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.outcome == "failed":
            self.emit(broken=report.nodeid, message=_last_words(report.longrepr))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        report = yield
        # Only now: for unittest's cases pytest fills the exception in while it makes the report.
        if call.excinfo is not None:
            self._notes[item.nodeid] = f"{call.excinfo.typename}: {call.excinfo.value}"[:MESSAGE_CHARS]
            self._lines[item.nodeid] = _line_of(call.excinfo.tb, str(item.path))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcome: str = report.outcome if report.when == "call" or report.outcome != "failed" else "error"
        before, _ = self._open.get(report.nodeid, ("passed", ""))
        if before == "passed" or outcome == "error":
            self._open[report.nodeid] = (outcome, self._notes.get(report.nodeid, "") if outcome in ("failed", "error") else "")
        if report.when == "teardown":
            outcome, message = self._open.pop(report.nodeid)
            line = self._lines.get(report.nodeid, 0) if message else 0
            self.emit(id=report.nodeid, outcome=outcome, message=message, line=line)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self.emit(end=int(exitstatus))


class _NarrowFolder(pytest.Directory):
    """A folder that collects the files asked for and the ways to them: pytest's own asks its plugins about every entry."""

    def __init__(self, path: Path, parent: pytest.Collector, ids: set[str], **rest: Any) -> None:
        super().__init__(path=path, parent=parent, **rest)
        files = [self.config.rootpath / name.partition("::")[0] for name in ids]
        self._wanted = {str(place) for file in files for place in (file, *file.parents)}

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        with os.scandir(self.path) as entries:
            wanted = sorted((entry.name, entry.is_dir()) for entry in entries if entry.path in self._wanted)
        for name, is_folder in wanted:
            if not is_folder:
                yield from self.ihook.pytest_collect_file(file_path=self.path / name, parent=self)
            elif collector := self.ihook.pytest_collect_directory(path=self.path / name, parent=self):
                yield collector


def _line_of(traceback: TracebackType | None, path: str) -> int:
    """The line of a test's file that an exception came through first, that is in the test itself; 0 when it never did."""
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == path:
            return traceback.tb_lineno
        traceback = traceback.tb_next
    return 0


def _last_words(longrepr: object) -> str:
    lines = [line.strip() for line in str(longrepr).splitlines() if line.strip()]
    return (lines[-1] if lines else "collection failed")[:MESSAGE_CHARS]
