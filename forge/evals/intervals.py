"""95 % intervals of proportions and means."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from forge.records import Interval

Z95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


def wilson(successes: float, trials: int) -> Interval:
    """Wilson's score interval of a proportion (JASA 22, 1927); without trials it is all of [0, 1].

    `successes` is no whole number where each trial is itself a share.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    if trials == 0:
        return Interval(low=0.0, high=1.0)
    share = successes / trials
    spread = Z95**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = Z95 * math.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return Interval(low=max(0.0, centre - half), high=min(1.0, centre + half))


def bootstrap_mean(values: Sequence[float], *, seed: int, draws: int = 2000) -> Interval:
    """Percentile bootstrap interval of the mean; one value gives itself, none raises `ValueError`."""
    if not values:
        raise ValueError("no values to take a mean of")
    drawn = np.random.default_rng(seed).choice(np.asarray(values, dtype=float), size=(draws, len(values)))
    means = sorted(map(float, drawn.mean(axis=1)))
    cut = int(0.025 * draws)
    return Interval(low=means[cut], high=means[draws - 1 - cut])
