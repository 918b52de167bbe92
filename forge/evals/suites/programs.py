"""Programs that are given input in a box, and what they give back compared outside it, by LiveCodeBench's rules.

The box gets inputs only, so there is no expected output that an answer could find, and no report that it could forge. Sources:
LiveCodeBench's `testing_util.py`: the modules that are imported before an answer, the recursion limit, how lines and values
are compared. Unlike there, an answer starts anew for each case, so what one case leaves in its variables is not seen by the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from forge.evals.suites import case_runner
from forge.evals.suites.problem import Case, Program
from forge.records import Record

RUNNER = "run_cases.py"
GROWTH = 4
"""Each group of cases is so many times the one before: wrong answers mostly fail the first, right ones take few runs."""
GROUP, GROUP_BYTES = 64, 4 * 2**20
"""Cases of a group at most, and the size of their inputs and outputs, unless it is one case."""


class Outcome(Record):
    """What one case came to in the box, in the answer's own words."""

    output: str
    error: str = ""
    cut: str = ""


_OUTCOMES = TypeAdapter(list[Outcome])


def groups(cases: Sequence[Case]) -> Iterator[list[Case]]:
    """The cases in order, in groups that are run at once."""
    group: list[Case] = []
    most, size = 1, 0
    for case in cases:
        own = len(case.input) + len(case.output)
        if group and (len(group) == most or size + own > GROUP_BYTES):
            yield group
            group, size, most = [], 0, min(most * GROWTH, GROUP)
        group.append(case)
        size += own
    if group:
        yield group


def files(exam: Program, source: str, cases: Sequence[Case], seconds: float) -> Mapping[str, str]:
    """What a box gets for a group of cases: path → content."""
    asked = {"function": exam.function if exam.mode == "call" else "", "seconds": seconds, "inputs": [case.input for case in cases]}
    runner = Path(case_runner.__file__).read_text(encoding="utf-8")
    return {RUNNER: runner, case_runner.ANSWER: source, case_runner.CASES: json.dumps(asked)}


def mistake(exam: Program, cases: Sequence[Case], printed: str) -> tuple[int, str]:
    """(which case of a group is wrong, from 0, and how); how is nothing when all are right. `printed` is what the runner printed."""
    try:
        found = _OUTCOMES.validate_json(printed)
    except ValidationError:
        return 0, "what it printed is no list of outputs"
    for number, (case, outcome) in enumerate(zip(cases, found, strict=False)):
        if wrong := _mistake(exam, case, outcome):
            return number, wrong
    return (len(found), "it was not run") if len(found) < len(cases) else (0, "")


def _mistake(exam: Program, case: Case, outcome: Outcome) -> str:
    if outcome.cut:
        return f"it went over its {outcome.cut} limit"
    if outcome.error:
        return f"it ended with {outcome.error[:200]}"
    return wrong_lines(case.output, outcome.output) if exam.mode == "stdin" else wrong_value(case.output, outcome.output)


def wrong_lines(expected: str, printed: str) -> str:
    """The first difference, by lines without the space around them; lines of numbers may be written in other ways."""
    wanted, got = _lines(expected), _lines(printed)
    if len(wanted) != len(got):
        return f"{len(got)} lines instead of {len(wanted)}"
    for number, (want, have) in enumerate(zip(wanted, got, strict=True), 1):
        if want != have and not _same_numbers(want, have):
            return f"line {number} is {_short(have)}, not {_short(want)}"
    return ""


def wrong_value(expected: str, written: str) -> str:
    """The difference between two values, each as JSON."""
    try:
        got: Any = json.loads(written)
    except ValueError:
        return "it returned nothing that can be compared"
    return "" if got == json.loads(expected) else f"it returned {_short(written)}, not {_short(expected)}"


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _same_numbers(first: str, second: str) -> bool:
    try:
        return [Decimal(word) for word in first.split()] == [Decimal(word) for word in second.split()]
    except InvalidOperation:
        return False


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:40]} … {text[-15:]}")
