"""How evenly tasks spread over repositories, modules, functions and kinds of bugs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from forge.records import Record, Task
from forge.tasks.plan import Unit

LEVELS = ("repositories", "modules", "functions", "operators")


class Level(Record):
    """One level: how many different ones the tasks touch, of how many offered, and how even they are."""

    different: int
    offered: int
    evenness: float
    """Entropy over the most that this many tasks can have: 1 when none is used twice before all are used once, 0 for a single one."""


def spread(found: Sequence[tuple[Unit, Task]], offered: Collection[Unit]) -> dict[str, Level]:
    """Each level of the tasks that came of these units, against what all units offered."""
    used, all_of = _counts(found), _counts((unit, None) for unit in offered)
    return {level: _level(used[level], max(len(all_of[level]), len(used[level]))) for level in LEVELS}


def evenness(counts: Iterable[int], offered: int) -> float:
    """Entropy of the counts, normalised by that of spreading as many over `offered` kinds; 1 where there is no choice."""
    some = [count for count in counts if count]
    total = sum(some)
    most = math.log(min(total, offered)) if total and offered else 0.0
    if most == 0.0:
        return 1.0
    return min(1.0, -sum(count / total * math.log(count / total) for count in some) / most)


def _level(counts: Mapping[str, int], offered: int) -> Level:
    return Level(different=len(counts), offered=offered, evenness=round(evenness(counts.values(), offered), 4))


def _counts(pairs: Iterable[tuple[Unit, Task | None]]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {level: Counter() for level in LEVELS}
    for unit, task in pairs:
        found["repositories"][unit.repo] += 1
        for site in unit.sites:
            found["modules"][f"{unit.repo}:{site.path}"] += 1
            found["functions"][f"{unit.repo}:{site.path}:{site.name}"] += 1
        for operator in task.operator.split("+") if task else {operator for site in unit.sites for operator in site.operators}:
            found["operators"][operator] += 1
    return found
