"""Is one agent better than another on the very same tasks?"""

from __future__ import annotations

from collections.abc import Mapping
from math import comb

import numpy as np

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


class PairedRates(Record):
    """Two agents on the same tasks, several rollouts each. `difference` is the mean over tasks of after minus before."""

    tasks: int
    difference: float
    ci95: Interval
    p: float
    """Two-sided, by flipping the signs of the tasks' differences at random."""


def compare_rates(before: Mapping[str, float], after: Mapping[str, float], *, seed: int = 0, draws: int = 5000) -> PairedRates:
    """The comparison of shares solved over tasks that both have; raises `ValueError` when there is none.

    A sign-flip permutation test: under the null a task's difference is as likely to be its negative.
    """
    both = sorted(before.keys() & after.keys())
    if not both:
        raise ValueError("the two have no task in common")
    differences = [after[task] - before[task] for task in both]
    mean = sum(differences) / len(both)
    moved = np.asarray([value for value in differences if value])
    flipped = np.random.default_rng(seed).choice((-1.0, 1.0), size=(draws, len(moved))) @ moved
    as_far = int((abs(flipped) >= abs(moved.sum()) - 1e-9).sum())
    return PairedRates(tasks=len(both), difference=mean, ci95=bootstrap_mean(differences, seed=seed), p=(as_far + 1) / (draws + 1))
