"""Runs named tests and reports them event by event, under any Python since 3.6 and any pytest since 3.0.

Executed with `-c` by `runtime.py`, in the work tree; its argument is the descriptor of the request. Events are those of
`testing.py`. It does not guard against code that finds it inside its own process: that takes canaries.
"""

import json
import os
import sys
from typing import Any, Dict, List, Set, Tuple

import pytest

MESSAGE_CHARS = 400
OFF = ("cacheprovider", "junitxml", "pastebin", "doctest", "stepwise", "faulthandler", "setuponly", "setupplan", "nose")


class Reporter:
    """The plugin: deselects what was not asked for, emits what was collected, each outcome, and the end."""

    def __init__(self, ids: Set[str], fd: int, token: str) -> None:
        self._ids = ids
        self._fd = fd
        self._token = token
        self._open: Dict[str, Tuple[str, str]] = {}
        self._notes: Dict[str, str] = {}
        self._lines: Dict[str, int] = {}

    def emit(self, **event: object) -> None:
        event["token"] = self._token
        view = memoryview(json.dumps(event).encode() + b"\n")
        while view:
            view = view[os.write(self._fd, view) :]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: Any, items: List[Any]) -> None:
        wanted = [item for item in items if item.nodeid in self._ids or item.nodeid.partition("::")[0] in self._ids]
        dropped = [item for item in items if item not in wanted]
        if dropped:
            config.hook.pytest_deselected(items=dropped)
        items[:] = wanted
        self.emit(collected=[item.nodeid for item in wanted])

    def pytest_collectreport(self, report: Any) -> None:
        if report.outcome == "failed":
            self.emit(broken=report.nodeid, message=last_words(report.longrepr))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Any:
        yield
        # Only now: for unittest's cases pytest fills the exception in while it makes the report.
        if call.excinfo is not None:
            self._notes[item.nodeid] = "{}: {}".format(call.excinfo.typename, call.excinfo.value)[:MESSAGE_CHARS]
            self._lines[item.nodeid] = line_of(call.excinfo.tb, str(item.fspath))

    def pytest_runtest_logreport(self, report: Any) -> None:
        outcome = report.outcome if report.when == "call" or report.outcome != "failed" else "error"
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


def line_of(traceback: Any, path: str) -> int:
    """The line of a test's file that an exception came through first, that is in the test itself; 0 when it never did."""
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == path:
            return int(traceback.tb_lineno)
        traceback = traceback.tb_next
    return 0


def last_words(longrepr: object) -> str:
    lines = [line.strip() for line in str(longrepr).splitlines() if line.strip()]
    return (lines[-1] if lines else "collection failed")[:MESSAGE_CHARS]


def put_first(entries: List[str]) -> None:
    """Import from these folders before anything else, and anew what pytest has imported of the same names from elsewhere.

    A distribution that pytest needs (attrs, say) may be the very repository under test.
    """
    sys.path[:0] = entries
    own = {name[:-3] if name.endswith(".py") else name for entry in entries for name in os.listdir(entry)}
    for name in list(sys.modules):
        top = name.partition(".")[0]
        if top in own and top not in ("pytest", "_pytest", "__main__") and top not in sys.builtin_module_names:
            module_file = getattr(sys.modules[top], "__file__", None) if top in sys.modules else None
            if module_file is None or "site-packages" in module_file:
                del sys.modules[name]


def run(request: Dict[str, Any]) -> int:
    """Pytest's exit code; 0 when none of the files is there."""
    root, ids = request["root"], request["ids"]
    put_first([entry for entry in request["path"] if os.path.isdir(entry)])
    os.set_inheritable(request["fd"], False)
    reporter = Reporter(set(ids), request["fd"], request["token"])
    files = [name for name in dict.fromkeys(name.partition("::")[0] for name in ids) if os.path.isfile(os.path.join(root, name))]
    if not files:
        reporter.emit(collected=[])
        reporter.emit(end=0)
        return 0
    words = ["-q", "--tb=native", "--capture=sys", "--continue-on-collection-errors", "--rootdir=" + root, "-o", "addopts="]
    for name in OFF:
        words += ["-p", "no:" + name]
    for name in request["plugins"]:
        words += ["-p", name]
    return int(pytest.main(words + files, plugins=[reporter]))


def main() -> None:
    fd = int(sys.argv[1])
    with os.fdopen(fd, "rb") as file:
        request = json.loads(file.read().decode())
    sys.argv[1:] = []
    sys.path[:] = [entry for entry in sys.path if entry]
    code = run(request)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
