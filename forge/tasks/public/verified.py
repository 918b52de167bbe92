"""What gold and doing nothing showed of one task, several times over; and all of it counted.

A task is verified when its own solution passes every time and doing nothing fails every time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from statistics import median

from forge.errors import TaskError
from forge.records import Record, Verdict
from forge.tasks.journal import Entry

Grade = Callable[[bool], Awaitable[Verdict]]
"""(with gold) → the verdict."""


class Verified(Entry):
    """One task's proof. `reason` is the phrase it is refused under, empty when it is verified; `detail` what was said."""

    id: str
    set: str
    reason: str = ""
    detail: str = ""
    runs: int = 0
    seconds: float = 0.0
    """Of one grade, box and all: the mean of those that were made."""
    weak: bool = False


class SetCounts(Record):
    """One set's row of the table."""

    set: str
    tasks: int
    verified: int
    refused: dict[str, int]
    seconds: float
    """Of one grade, the median over tasks."""
    weak: bool


async def verify(key: str, name: str, of: str, runs: int, grade: Grade) -> Verified:
    """Grade gold and nothing `runs` times each, as long as both say what they should. Boxes that fail raise `SandboxError`."""
    told: list[Verdict] = []
    start = time.monotonic()

    def end(reason: str = "", detail: str = "") -> Verified:
        seconds = (time.monotonic() - start) / max(1, len(told))
        weak = any(verdict.weak for verdict in told)
        return Verified(key=key, id=name, set=of, reason=reason, detail=detail, runs=len(told), seconds=round(seconds, 3), weak=weak)

    try:
        for number in range(runs):
            for gold in (True, False):
                told.append(await grade(gold))
                if told[-1].passed != gold:
                    return end(_reason(gold, number), told[-1].reason)
    except TaskError as error:
        return end(str(error))
    return end()


def counted(found: Iterable[Verified]) -> list[SetCounts]:
    """A row for each set, in the order of their names."""
    by_set: dict[str, list[Verified]] = {}
    for entry in found:
        by_set.setdefault(entry.set, []).append(entry)
    return [
        SetCounts(
            set=name,
            tasks=len(entries),
            verified=sum(not entry.reason for entry in entries),
            refused=dict(Counter(entry.reason for entry in entries if entry.reason).most_common()),
            seconds=median(entry.seconds for entry in entries),
            weak=any(entry.weak for entry in entries),
        )
        for name, entries in sorted(by_set.items())
    ]


def _reason(gold: bool, number: int) -> str:
    if number:
        return "its own solution passes only sometimes" if gold else "doing nothing passes sometimes"
    return "its own solution fails" if gold else "doing nothing passes"
