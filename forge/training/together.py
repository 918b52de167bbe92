"""One adapter on the batches of several jobs: each job's own batches, in its own order, spread evenly over one run.

Every batch is of one stage, as it was for that stage's own adapter, so its loss is the same mean over the same answer tokens: in
batches of several stages a judgement, which is one word, would weigh next to nothing beside an edit. And because batches are spread
evenly, each one meets the same point of the learning rate's schedule as it does in its own job.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from forge.errors import TrainingError
from forge.seams import TrainJob
from forge.store.parquet import read_examples
from forge.training.batches import interleaved
from forge.training.rows import RowSet, encode_all, key_of


def parts(job: TrainJob, tokenizer: Any, held_back: Collection[str] = ()) -> list[RowSet]:
    """The rows of each job in `job.together`, those whose lineage key is in `held_back` apart.

    Raises `TrainingError` when a job has none left, or is not of the same base.
    """
    found = []
    for one in job.together:
        if one.base != job.base or one.method != "sft":
            raise TrainingError(f"{one.stage} cannot share an adapter with {job.stage}: it is trained on another base or not by SFT")
        examples = read_examples(Path(one.rows))
        kept = [row for row in examples if key_of(row.lineage) not in held_back]
        apart = [row for row in examples if key_of(row.lineage) in held_back]
        found.append(encode_all(kept, apart, tokenizer, max_tokens=one.max_tokens, eval_fraction=0.0))
    return found


def joined(job: TrainJob, found: list[RowSet]) -> RowSet:
    """All rows of the parts as one set, with the batches that it is trained on."""
    before = 0
    batches = []
    for one, part in zip(job.together, found, strict=True):
        batches.append([tuple(before + row for row in batch) for batch in part.schedule(one)])
        before += len(part.train)
    return RowSet(
        train=tuple(row for part in found for row in part.train),
        heldout=tuple(row for part in found for row in part.heldout),
        truncated=sum(part.truncated for part in found),
        batches=tuple(interleaved(batches)),
    )
