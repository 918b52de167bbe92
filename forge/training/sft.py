"""Supervised training through TRL: the loss of the answers, every row by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import Trainer
from trl import SFTConfig, SFTTrainer

from forge.errors import TrainingError
from forge.seams import TrainJob
from forge.store.parquet import read_examples
from forge.training import rows, together
from forge.training.batches import LengthBatches, split
from forge.training.run import Backend, dataset_order
from forge.training.tail import AnswerTail


class Sft:
    """Implements `forge.training.run.Method`."""

    sequences = 1

    def rows(self, job: TrainJob, tokenizer: Any) -> rows.RowSet:
        """The examples of `job.rows`, a share of their lineages held back unless `job.eval_rows` are given; or those of other jobs."""
        if job.together:
            return together.joined(job, together.parts(job, tokenizer))
        held_back = read_examples(Path(job.eval_rows)) if job.eval_rows else None
        examples = read_examples(Path(job.rows))
        return rows.encode_all(examples, held_back, tokenizer, max_tokens=job.max_tokens, eval_fraction=job.eval_fraction)

    def trainer(self, job: TrainJob, backend: Backend, settings: dict[str, Any], **parts: Any) -> Trainer:
        """TRL's `SFTTrainer` on rows that are token ids already."""
        data: rows.RowSet = parts["data"]
        own = {"dataset_kwargs": {"skip_prepare_dataset": True}, "packing": False, **backend.sft_settings}
        trainer = _Trainer(
            model=parts["model"],
            args=SFTConfig(**settings, **own),
            train_dataset=_dataset(data.train, job.max_tokens),
            eval_dataset=_dataset(dataset_order(data.heldout), job.max_tokens) if data.heldout else None,
            processing_class=parts["tokenizer"],
            callbacks=parts["callbacks"],
        )
        trainer.tail = backend.tail(parts["model"])
        trainer.given = data.batches
        return trainer

    def metrics(self, history: Sequence[dict[str, float]]) -> dict[str, float]:  # noqa: ARG002
        """Nothing beside the losses."""
        return {}


class _Trainer(SFTTrainer):
    """TRL's trainer with batches of equal length and a short last layer, without a model card at every checkpoint."""

    tail: AnswerTail | None = None
    given: Sequence[Sequence[int]] | None = None
    """The batches of the one pass that is made, where they are not drawn."""

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train with the short last layer in place, which is gone afterwards."""
        if self.tail is None:
            return super().train(*args, **kwargs)
        self.tail.install()
        try:
            return super().train(*args, **kwargs)
        finally:
            self.tail.remove()

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """TRL's loss; the last layer computes only what it needs."""
        if self.tail is None:
            return super().compute_loss(model, inputs, *args, **kwargs)
        self.tail.select(inputs["labels"])
        try:
            return super().compute_loss(model, inputs, *args, **kwargs)
        finally:
            self.tail.select(None)

    def get_train_dataloader(self) -> Any:
        """TRL's, or one over the given batches."""
        if self.given is None:
            return super().get_train_dataloader()
        loader: Any = DataLoader(self.train_dataset, batch_sampler=_Given(self.given, self._accumulated), collate_fn=self.data_collator)
        return self.accelerator.prepare(loader)

    @property
    def _accumulated(self) -> int:
        return int(self.args.gradient_accumulation_steps)

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthBatches:
        lengths = [len(ids) for ids in (train_dataset or self.train_dataset)["input_ids"]]
        # Whole batches, however much of one is computed on at once: the order is the same on every card.
        return LengthBatches(lengths, self._train_batch_size * self._accumulated, self.args.seed)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: the manifest of the adapter store says more."""


class _Given:
    """A batch sampler over batches of any size, each in `times` parts whose gradients are accumulated."""

    drop_last = False

    def __init__(self, batches: Sequence[Sequence[int]], times: int) -> None:
        shortest, self.batch_size = min(map(len, batches)), max(map(len, batches))
        if shortest < times:
            raise TrainingError(
                f"the card holds 1/{times} of a batch at once, but one batch has {shortest} rows, which cannot be cut so small; "
                "lower training.batch_size or stages.*.batch_size"
            )
        self._parts = [list(part) for batch in batches for part in split(batch, times)]

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._parts)


def _dataset(encoded: Sequence[rows.EncodedRow], max_tokens: int) -> Dataset:
    data = Dataset.from_dict({"input_ids": [list(row.ids) for row in encoded], "labels": [row.labels for row in encoded]})
    data._unsloth_truncated_to = max_tokens  # how Unsloth is told that no row is longer; else it pads, and TRL takes no notice
    return data
