"""What a sweep finds, and what it should try next; apart from it, so that a driver can read it without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping

from forge.records import Record


class Trial(Record):
    """Settings that were tried, and the loss that they came to, in nats an answer token."""

    rank: int
    alpha: int
    learning_rate: float
    loss: float


def best(losses: Mapping[float, float]) -> float | None:
    """The learning rate of the lowest loss; `None` when no loss is a number."""
    return min((rate for rate, loss in losses.items() if math.isfinite(loss)), key=losses.__getitem__, default=None)


def beyond(losses: Mapping[float, float]) -> float | None:
    """The next learning rate to try when the best one is outermost, as far from it as its neighbour; `None` when it lies inside."""
    rates, found = sorted(losses), best(losses)
    if found is None or len(rates) < 2:
        return None
    if found == rates[-1]:
        return found**2 / rates[-2]
    return found**2 / rates[1] if found == rates[0] else None
