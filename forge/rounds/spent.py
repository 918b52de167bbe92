"""What a run has cost so far, from the ledger alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from forge.config import ForgeConfig
from forge.records import Spent


class Clocked(Protocol):
    """A phase that took time."""

    @property
    def seconds(self) -> float: ...


class Costs(Protocol):
    """The part of the ledger that says what was spent."""

    def phases(self) -> Iterable[Clocked]: ...

    def tokens(self) -> int: ...


def spent_of(book: Costs, config: ForgeConfig) -> Spent:
    """Seconds of all phases, tokens of all rollouts, and GPU hours as if the GPUs were held for all of the time."""
    wall_s = sum(phase.seconds for phase in book.phases())
    gpu_hours = gpus_held(config) * wall_s / 3600
    return Spent(wall_s=wall_s, tokens=book.tokens(), gpu_hours=gpu_hours, money=gpu_hours * config.rounds.budget.gpu_hour_price)


def gpus_held(config: ForgeConfig) -> float:
    """GPUs that serving and training hold: one where they take turns on a shared one, else the sum."""
    serving, training = config.serve.gpus, config.training.gpus
    return max(1.0, serving + training) if serving and training and serving + training <= 1 else float(serving + training)
