"""What a training run tells while it goes on."""

from __future__ import annotations

from collections.abc import Callable

from forge.records import Record


class TrainProgress(Record):
    """Where one job is: `loss` is the mean training loss since the last message, in nats per answer token."""

    stage: str
    step: int = 0
    steps: int = 0
    loss: float | None = None
    eval_loss: float | None = None
    note: str = ""
    """Something that a person should know, said once."""


Listener = Callable[[TrainProgress], None]
"""Called in the training process, at most about forty times a job."""


def silent(progress: TrainProgress) -> None:
    """Listen to nothing."""
