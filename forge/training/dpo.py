"""Direct preference optimisation through TRL (Rafailov et al., arXiv 2305.18290): the better answer over the worse one.

The reference is the bare base, whatever the adapter started from, so that a round never drifts from rounds before it: the
same base with the adapter off, no second copy of it in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import Trainer
from trl import DPOConfig, DPOTrainer

from forge.records import Preference
from forge.seams import TrainJob
from forge.store.parquet import read_records
from forge.training import pairs
from forge.training.batches import LengthBatches
from forge.training.run import Backend, dataset_order


class Dpo:
    """Implements `forge.training.run.Method`."""

    sequences = 2

    def rows(self, job: TrainJob, tokenizer: Any) -> pairs.PairSet:
        """The preferences of `job.rows`, a share of their lineages held back unless `job.eval_rows` are given."""
        held_back = read_records(Path(job.eval_rows), Preference) if job.eval_rows else None
        preferences = read_records(Path(job.rows), Preference)
        return pairs.encode_all(preferences, held_back, tokenizer, max_tokens=job.max_tokens, eval_fraction=job.eval_fraction)

    def trainer(self, job: TrainJob, backend: Backend, settings: dict[str, Any], **parts: Any) -> Trainer:  # noqa: ARG002
        """TRL's `DPOTrainer` on pairs that are token ids already."""
        data: pairs.PairSet = parts["data"]
        trainer = _Trainer(
            model=parts["model"],
            args=DPOConfig(**settings, beta=job.beta, **_losses(job.sft_weight)),
            train_dataset=_dataset(data.train),
            eval_dataset=_dataset(dataset_order(data.heldout)) if data.heldout else None,
            processing_class=parts["tokenizer"],
            callbacks=parts["callbacks"],
        )
        if "ref" in trainer.model.peft_config:
            # TRL's copy of the adapter that training starts from: without it the reference is the base.
            trainer.model.delete_adapter("ref")
        return trainer

    def metrics(self, history: Sequence[dict[str, float]]) -> dict[str, float]:
        """Share of held-back pairs whose better answer gained more than the worse one, and by how much, in nats."""
        known = {"eval_accuracy": "eval_rewards/accuracies", "eval_margin": "eval_rewards/margins", "train_accuracy": "rewards/accuracies"}
        found = {name: [entry[key] for entry in history if key in entry] for name, key in known.items()}
        first = {f"first_{name}": values[0] for name, values in found.items() if values}
        return first | {name: values[-1] for name, values in found.items() if values}


class _Trainer(DPOTrainer):
    """TRL's trainer with pairs of equal length in a batch, without a model card at every checkpoint."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthBatches:
        data = train_dataset or self.train_dataset
        lengths = [len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in data]
        return LengthBatches(lengths, self._train_batch_size * self.args.gradient_accumulation_steps, self.args.seed)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: the manifest of the adapter store says more."""


def _losses(sft_weight: float) -> dict[str, Any]:
    if not sft_weight:
        return {"loss_type": ["sigmoid"]}
    return {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, sft_weight]}


def _dataset(encoded: Sequence[pairs.EncodedPair]) -> Dataset:
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return Dataset.from_dict({name: [list(getattr(pair, name)) for pair in encoded] for name in names})
