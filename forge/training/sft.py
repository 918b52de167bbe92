"""One supervised run through TRL: a base from a backend in, the best checkpoint's adapter out.

Everything the run needs is in token ids before TRL sees it, so that its `Trainer` only steps: no mapping,
no packing, the loss on answer positions only, batches of equal length, rare logs and evaluations.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from datasets import Dataset
from transformers import EarlyStoppingCallback, PrinterCallback
from trl import SFTConfig, SFTTrainer

from forge.errors import TrainingError
from forge.seams import TrainJob, TrainResult
from forge.store.parquet import read_examples
from forge.training import artefact, base, logprobs, rows
from forge.training.batches import LengthBatches
from forge.training.callbacks import EvaluateAtEnd, Tell
from forge.training.progress import Listener
from forge.training.tail import AnswerTail

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""All seven linears of a layer: matching full fine-tuning needs every one (QLoRA, arXiv 2305.14314)."""
WARMUP = 0.06
"""Share of the steps that the learning rate takes to rise, as in the LoRA paper's recipes (arXiv 2106.09685, table 9)."""
LOGS = 20
"""Log entries of one run, about."""
LONGEST_SPAN = 200
"""Steps between two evaluations (and checkpoints) at most: what a kill can cost."""
CANARIES = 3


class Backend(Protocol):
    """What differs between PEFT alone and Unsloth."""

    def tail(self, model: Any) -> AnswerTail | None:
        """The short cut through the last layer of an adapted base, where this backend has one."""

    def load(self, folder: Path, job: TrainJob) -> tuple[Any, Any]:
        """The base, frozen, and its tokenizer."""

    def attach(self, model: Any, job: TrainJob) -> Any:
        """The base with a fresh LoRA adapter named `default`, seeded by the job."""

    def detach(self, model: Any) -> None:
        """Take the adapter off, so that the base can serve the next job."""

    def settings(self, job: TrainJob) -> dict[str, Any]:
        """What this backend wants in `SFTConfig`: precision, micro-batches, optimizer, memory."""


def train(job: TrainJob, backend: Backend, listen: Listener) -> TrainResult:
    """The adapter of `job` at `job.output`; a finished job is not trained again, an interrupted one goes on.

    Raises `TrainingError` when the base is none, changes under the run, or the rows teach nothing.
    """
    started = time.monotonic()
    folder = base.locate(job.base)
    base_sha256 = base.weights_sha256(folder)
    artefact.refuse_foreign(Path(job.output))
    model, tokenizer = backend.load(folder, job)
    data = _rows(job, tokenizer)
    done = artefact.finished(job, data.sha256, base_sha256)
    if done is not None:
        return done
    adapted = backend.attach(model, job)
    try:
        metrics = _run(job, backend, adapted, tokenizer, data, listen)
        if base.weights_sha256(folder) != base_sha256:
            raise TrainingError(f"the weights in {folder} changed while {job.stage} trained on them; restore the base and train again")
        canaries = _canaries(adapted, data)
        result = TrainResult(
            stage=job.stage,
            output=job.output,
            base_sha256=base_sha256,
            data_sha256=data.sha256,
            examples=len(data.train),
            truncated=data.truncated,
            metrics=metrics | {"seconds": time.monotonic() - started, "heldout": float(len(data.heldout))},
        )
        artefact.publish(adapted, artefact.Done(job=job, data_sha256=data.sha256, result=result), canaries)
    finally:
        backend.detach(adapted)
    shutil.rmtree(artefact.work_folder(job), ignore_errors=True)
    return result


class AdapterTrainer(SFTTrainer):
    """TRL's trainer with batches of equal length and a short last layer, without a model card at every checkpoint."""

    tail: AnswerTail | None = None

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """TRL's loss; the last layer computes only what it needs."""
        if self.tail is None:
            return super().compute_loss(model, inputs, *args, **kwargs)
        self.tail.select(inputs["labels"])
        try:
            return super().compute_loss(model, inputs, *args, **kwargs)
        finally:
            self.tail.select(None)

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthBatches:
        lengths = [len(ids) for ids in (train_dataset or self.train_dataset)["input_ids"]]
        return LengthBatches(lengths, self._train_batch_size, self.args.seed)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: the manifest of the adapter store says more."""


def _rows(job: TrainJob, tokenizer: Any) -> rows.RowSet:
    held_back = read_examples(Path(job.eval_rows)) if job.eval_rows else None
    return rows.encode_all(read_examples(Path(job.rows)), held_back, tokenizer, max_tokens=job.max_tokens, eval_fraction=job.eval_fraction)


def _run(job: TrainJob, backend: Backend, model: Any, tokenizer: Any, data: rows.RowSet, listen: Listener) -> dict[str, float]:
    steps_per_epoch = math.ceil(len(data.train) / job.batch_size)
    steps = max(1, min(math.ceil(steps_per_epoch * job.epochs), job.max_steps or sys.maxsize))
    work = artefact.work_folder(job)
    trainer = AdapterTrainer(
        model=model,
        args=SFTConfig(**_settings(job, work, steps, min(steps_per_epoch, LONGEST_SPAN), bool(data.heldout)) | backend.settings(job)),
        train_dataset=_dataset(data.train),
        eval_dataset=_dataset(sorted(data.heldout, key=lambda row: len(row.ids))) if data.heldout else None,
        processing_class=tokenizer,
        callbacks=[Tell(job.stage, listen), *([EvaluateAtEnd(), EarlyStoppingCallback(job.patience)] if data.heldout else [])],
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = artefact.last_complete_checkpoint(work)
    with contextlib.ExitStack() as cleanup:
        trainer.tail = backend.tail(model)
        if trainer.tail is not None:
            trainer.tail.install()
            cleanup.callback(trainer.tail.remove)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return _metrics(trainer, data)


def _settings(job: TrainJob, work: Path, steps: int, span: int, evaluates: bool) -> dict[str, Any]:
    return {
        "output_dir": str(work),
        "max_steps": steps,
        "per_device_train_batch_size": job.batch_size,
        "per_device_eval_batch_size": job.batch_size,
        "learning_rate": job.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": WARMUP,
        "weight_decay": 0.0,
        "seed": job.seed,
        "data_seed": job.seed,
        "logging_strategy": "steps",
        "logging_steps": max(1, steps // LOGS),
        "eval_strategy": "steps" if evaluates else "no",
        "eval_steps": span,
        "save_strategy": "steps",
        "save_steps": span,
        "save_total_limit": 2,
        "load_best_model_at_end": evaluates,
        "metric_for_best_model": "eval_loss" if evaluates else None,
        "greater_is_better": False if evaluates else None,
        "restore_callback_states_from_checkpoint": True,
        "prediction_loss_only": True,
        "remove_unused_columns": False,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "max_length": None,
        "packing": False,
        "dataloader_num_workers": 0,
        "disable_tqdm": True,
        "report_to": "none",
    }


def _dataset(encoded: Sequence[rows.EncodedRow]) -> Dataset:
    return Dataset.from_dict({"input_ids": [list(row.ids) for row in encoded], "labels": [row.labels for row in encoded]})


def _metrics(trainer: SFTTrainer, data: rows.RowSet) -> dict[str, float]:
    history = trainer.state.log_history
    seconds = next((entry["train_runtime"] for entry in reversed(history) if "train_runtime" in entry), 0.0)
    trained = [entry for entry in history if "loss" in entry]
    evaluated = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    epochs = float(trainer.state.epoch or 0.0)
    metrics = {
        "train_loss": trained[-1]["loss"],
        "first_train_loss": trained[0]["loss"],
        "epochs": epochs,
        "steps": float(trainer.state.global_step),
        "train_seconds": seconds,
        "tokens": epochs * sum(len(row.ids) for row in data.train),
    }
    metrics["tokens_per_s"] = metrics["tokens"] / seconds if seconds else 0.0
    if evaluated:
        metrics |= {"eval_loss": min(evaluated), "first_eval_loss": evaluated[0], "last_eval_loss": evaluated[-1]}
    return metrics


def _canaries(model: Any, data: rows.RowSet) -> list[artefact.Canary]:
    chosen = [(row.ids[: row.answer_start], row.ids[row.answer_start :]) for row in (data.heldout or data.train)[:CANARIES]]
    values = logprobs.of_completions(model, chosen)
    return [artefact.Canary(prompt_ids=p, completion_ids=c, logprobs=v) for (p, c), v in zip(chosen, values, strict=True)]
