"""Pass@k from n samples a task."""

from __future__ import annotations

from collections.abc import Iterable
from math import comb


def pass_at_k(samples: int, solved: int, k: int) -> float:
    """Unbiased chance that one of k samples solves a task of which `solved` of `samples` did (arXiv 2107.03374, eq. 1)."""
    if not (0 <= solved <= samples and 1 <= k <= samples):
        raise ValueError(f"pass@{k} of {solved} solved in {samples} samples")
    return 1.0 - comb(samples - solved, k) / comb(samples, k)


def mean_pass_at_k(counts: Iterable[tuple[int, int]], k: int) -> float:
    """Mean over tasks, given as (samples, solved); tasks with fewer than k samples raise `ValueError`."""
    scores = [pass_at_k(samples, solved, k) for samples, solved in counts]
    return sum(scores) / len(scores) if scores else 0.0
