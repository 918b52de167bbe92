"""What tests reach in a source file: bugs elsewhere would go unnoticed, so none are tried there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from forge.records import CommandResult, Record, Symbol
from forge.tasks import tracer


class Reach(Record):
    """Lines (1-based) of one file that ran, and by the first line of each function the tests during which it was called.

    A call while modules are imported stands under the empty id.
    """

    lines: frozenset[int]
    begun: dict[int, tuple[str, ...]]

    def ran(self, first: int, last: int) -> bool:
        """Whether any of these lines ran."""
        return any(line in self.lines for line in range(first, last + 1))

    def tests_of(self, symbol: Symbol) -> tuple[str, ...]:
        """Ids of the tests that call a function or anything inside it, in order of name; none when it runs at import too."""
        inside = {test for line, tests in self.begun.items() if symbol.first_line <= line <= symbol.last_line for test in tests}
        return () if "" in inside else tuple(sorted(inside))

    def calls(self, symbol: Symbol) -> bool:
        """Whether a function or anything inside it was called at all."""
        return any(symbol.first_line <= line <= symbol.last_line for line in self.begun)


def command(source: str, tests: Sequence[str]) -> list[str]:
    """The command that traces `tests` in a box's work tree; `parse` reads its result."""
    return ["python", "-c", Path(tracer.__file__).read_text(encoding="utf-8"), json.dumps({"source": source, "tests": list(tests)})]


def parse(result: CommandResult) -> Reach | None:
    """What a traced run reached; `None` when it did not come to its end, so that nothing is known."""
    told = [line for line in result.stdout.splitlines() if line.startswith(tracer.MARK)]
    if not told or result.breach:
        return None
    try:
        found = json.loads(told[-1].removeprefix(tracer.MARK))
        return Reach.model_validate({"lines": found["lines"], "begun": {int(line): tests for line, tests in found["begun"].items()}})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
