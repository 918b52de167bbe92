"""What a sweep finds; apart from it, so that a driver can read it without torch."""

from __future__ import annotations

from forge.records import Record


class Trial(Record):
    """Settings that were tried, and the loss that they came to, in nats an answer token."""

    rank: int
    alpha: int
    learning_rate: float
    loss: float
