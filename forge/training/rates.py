"""Which learning rate suits one adapter on the batches of several jobs: all are tried side by side, rows held back decide.

A stage's rate was chosen for its own adapter; one that learns from all of them may want another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from forge.seams import TrainJob
from forge.store.parquet import read_examples
from forge.training import base, together
from forge.training.packed import Losses, Schedule, Setting, train_side_by_side
from forge.training.rows import heldout_keys

HELD_BACK = 0.1
"""Share of commits and tasks whose rows are kept from the adapters that are compared."""
EVERY, ENOUGH = 3, 100
"""Each rate is tried on every third batch, where that leaves so many: the whole run for each would cost more than what it is for."""


def losses_at(job: TrainJob, rates: Sequence[float], tell: Callable[[int, Losses], None] = lambda *_: None) -> Losses:
    """For each rate the loss (nats an answer token) on rows held back: the mean over stages, each counting alike.

    It is that after a run over every third batch, or over all of a short run.
    Raises `TrainingError` when the rows teach nothing.
    """
    folder = base.locate(job.base)
    kept_back = heldout_keys([row.lineage for one in job.together for row in read_examples(Path(one.rows))], HELD_BACK)
    found = together.parts(job, AutoTokenizer.from_pretrained(folder), kept_back)
    whole = together.joined(job, found)
    batches = whole.batches or ()
    data = replace(whole, batches=batches[:: max(1, min(EVERY, len(batches) // ENOUGH))])
    cuda = torch.cuda.is_available()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16 if cuda else torch.float32).to("cuda" if cuda else "cpu")
    model.requires_grad_(False)
    settings = [Setting(rank=job.rank, alpha=job.alpha, learning_rate=rate) for rate in rates]
    schedule = Schedule(steps=len(data.schedule(job)), batch_size=job.batch_size, seed=job.seed, rslora=job.rslora)
    return train_side_by_side(model, data, settings, schedule, tell, judges=[part.heldout for part in found if part.heldout])
