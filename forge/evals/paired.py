"""Is one agent better than another on the very same tasks?"""

from __future__ import annotations

from collections.abc import Mapping
from math import comb

from forge.evals.intervals import bootstrap_mean
from forge.records import Interval, Record


class Paired(Record):
    """Two agents on the same tasks. `difference` is after minus before, in share of tasks solved."""

    tasks: int
    gained: int
    """Tasks that only the later agent solves."""
    lost: int
    """Tasks that only the earlier agent solves."""
    difference: float
    ci95: Interval
    p: float
    """Two-sided exact McNemar."""


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided exact p of `gained` against `lost` discordant tasks (binomial with one half); 1.0 without any."""
    if min(gained, lost) < 0:
        raise ValueError(f"{gained} gained and {lost} lost tasks")
    total = gained + lost
    tail = sum(comb(total, index) for index in range(min(gained, lost) + 1))
    return min(1.0, float(2 * tail / 2**total))


def compare(before: Mapping[str, bool], after: Mapping[str, bool], *, seed: int = 0) -> Paired:
    """The comparison over tasks that both have a result for; raises `ValueError` when there is none."""
    both = sorted(before.keys() & after.keys())
    if not both:
        raise ValueError("the two steps have no task in common")
    differences = [int(after[task]) - int(before[task]) for task in both]
    gained, lost = differences.count(1), differences.count(-1)
    return Paired(
        tasks=len(both),
        gained=gained,
        lost=lost,
        difference=(gained - lost) / len(both),
        ci95=bootstrap_mean([float(value) for value in differences], seed=seed),
        p=mcnemar_exact(gained, lost),
    )
