"""Run inside a box as `python -c SOURCE JSON`: which lines and functions of one file the tests reach, as the last line of its output.

Standard library and pytest only. What it says steers what is tried and proves nothing, so that code under test may lie to it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import defaultdict
from types import CodeType, FrameType
from typing import Any

MARK = "forge-reach:"


class Tracer:
    """Notes executed lines, and for each function (by its first line) the tests during which it began."""

    def __init__(self, path: str) -> None:
        self.lines: set[int] = set()
        self.begun: dict[int, set[str]] = defaultdict(set)
        self._path = path
        self._left: dict[CodeType, set[int] | None] = {}
        self._test = ""

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._test = nodeid

    def pytest_runtest_logfinish(self) -> None:
        self._test = ""

    def trace(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        if code not in self._left:
            ours = os.path.abspath(code.co_filename) == self._path
            self._left[code] = {line for _, _, line in code.co_lines() if line is not None} if ours else None
        left = self._left[code]
        if left is None:
            return None
        if code.co_name != "<module>":
            self.begun[code.co_firstlineno].add(self._test)
        return self._line if left else None

    def _line(self, frame: FrameType, event: str, _argument: Any) -> Any:
        """Looks at a function's lines until all of them have run: what runs often is then traced no more."""
        left = self._left[frame.f_code]
        if event == "line" and left:
            self.lines.add(frame.f_lineno)
            left.discard(frame.f_lineno)
        return self._line if left else None


def main() -> None:
    """Run the tests and print what they reached."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    import pytest

    asked = json.loads(sys.argv[1])
    tracer = Tracer(os.path.abspath(asked["source"]))
    sys.path.insert(0, os.getcwd())
    threading.settrace(tracer.trace)
    sys.settrace(tracer.trace)
    pytest.main(
        ["-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:faulthandler", "-o", "addopts=", "--rootdir=.", *asked["tests"]], [tracer]
    )
    sys.settrace(None)
    begun = {str(line): sorted(tests) for line, tests in tracer.begun.items()}
    sys.stdout.write(f"\n{MARK}{json.dumps({'lines': sorted(tracer.lines), 'begun': begun})}\n")


if __name__ == "__main__":
    main()
