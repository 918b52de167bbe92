"""The ways to train, by the name that a job gives."""

from __future__ import annotations

from forge.seams import TrainJob
from forge.training.dpo import Dpo
from forge.training.run import Method
from forge.training.sft import Sft

METHODS: dict[str, Method] = {"sft": Sft(), "dpo": Dpo()}


def method_of(job: TrainJob) -> Method:
    """What trains this job."""
    return METHODS[job.method]
