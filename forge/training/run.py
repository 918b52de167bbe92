"""One run of a job: a base from a backend and rows through a method in, the best checkpoint's adapter out.

Everything the run needs is in token ids before TRL sees it, so that its trainers only step: no mapping, no
packing, the loss on answer positions only, batches of equal length, rare logs and evaluations.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from peft import load_peft_weights, set_peft_model_state_dict
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer

from forge.errors import TrainingError
from forge.seams import TrainJob, TrainResult
from forge.training import artefact, average, base, logprobs, plan
from forge.training.callbacks import EvaluateAtEnd, Seal, Tell, tensorboard
from forge.training.progress import Listener, TrainProgress
from forge.training.rows import Pair
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
_FULL = ("No space left", "failed writing", "unexpected pos")
"""What torch and safetensors say when a disk is full; neither raises an `OSError`."""


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
        """What this backend wants in the training arguments: precision, optimizer, memory."""

    @property
    def sft_settings(self) -> dict[str, Any]:
        """What this backend wants in supervised training alone: TRL's way to compute the loss, with padding or without."""

    def micro_batch(self, job: TrainJob, longest: int) -> int:
        """Sequences of up to `longest` tokens that are computed on at once; the rest of a batch is accumulated."""


class Rows(Protocol):
    """What a job trains on, in token ids."""

    @property
    def train(self) -> Sequence[Any]:
        """Rows that teach."""

    @property
    def heldout(self) -> Sequence[Any]:
        """Rows kept back for early stopping."""

    @property
    def truncated(self) -> int:
        """Rows left out for their length."""

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of all ids and masks, in order."""

    def lengths(self) -> list[int]:
        """Tokens of each training row."""

    def answer_lengths(self) -> list[int]:
        """Tokens of each training row that the loss sees."""

    def schedule(self, job: TrainJob) -> Sequence[Sequence[int]]:
        """Numbers of the training rows in every batch of the job, in order, when nothing stops it early."""

    def canaries(self, count: int) -> list[Pair]:
        """Prompts and answers to check an endpoint with."""


class Method(Protocol):
    """What differs between supervised training and DPO."""

    sequences: int
    """Sequences that one row puts through the model at once."""

    def rows(self, job: TrainJob, tokenizer: Any) -> Rows:
        """The job's rows, encoded and split."""

    def trainer(self, job: TrainJob, backend: Backend, settings: dict[str, Any], **parts: Any) -> Trainer:
        """TRL's trainer; `parts` are `model`, `tokenizer`, `data`, `callbacks`."""

    def metrics(self, history: Sequence[dict[str, float]]) -> dict[str, float]:
        """What this method alone measures, from the log of a run."""


def train(job: TrainJob, backend: Backend, method: Method, listen: Listener) -> TrainResult:
    """The adapter of `job` at `job.output`; a finished job is not trained again, an interrupted one goes on.

    Raises `TrainingError` when the base is none, changes under the run, or the rows teach nothing.
    """
    started = time.monotonic()
    folder = base.locate(job.base)
    base_sha256 = base.weights_sha256(folder)
    artefact.refuse_foreign(Path(job.output))
    start = artefact.taken_over(job, job.start, base_sha256)
    earlier = artefact.taken_over(job, job.average, base_sha256)
    model, tokenizer = backend.load(folder, job)
    data = method.rows(job, tokenizer)
    done = artefact.finished(job, data.sha256, base_sha256)
    if done is not None:
        return done
    longest = max(len(row) for part in (data.train, data.heldout) for row in part)
    micro = max(1, backend.micro_batch(job, longest) // method.sequences)
    begun = load_peft_weights(str(start), device="cpu") if start is not None else None
    while True:
        adapted = backend.attach(model, job)
        try:
            if begun is not None:
                set_peft_model_state_dict(adapted, begun, adapter_name="default")
            trainer, metrics = _run(job, backend, method, adapted, tokenizer, data, micro, listen)
            if earlier is not None:
                metrics |= _averaged(trainer, adapted, earlier, job.average_weight, metrics)
            if base.weights_sha256(folder) != base_sha256:
                raise TrainingError(f"the weights in {folder} changed while {job.stage} trained on them; restore the base and train again")
            result = TrainResult(
                stage=job.stage,
                output=job.output,
                base_sha256=base_sha256,
                data_sha256=data.sha256,
                examples=len(data.train),
                truncated=data.truncated,
                metrics=metrics | {"seconds": time.monotonic() - started, "heldout": float(len(data.heldout)), "micro_batch": float(micro)},
            )
            artefact.publish(adapted, artefact.Done(job=job, data_sha256=data.sha256, result=result), _canaries(adapted, data))
            break
        except torch.OutOfMemoryError as error:
            if micro == 1:
                raise TrainingError(
                    f"{job.stage} does not fit into this card's memory even one row at a time; lower bases.*.max_model_tokens or the rank, "
                    "or set load_in_4bit"
                ) from error
            micro //= 2
        finally:
            backend.detach(adapted)
        torch.cuda.empty_cache()
        listen(TrainProgress(stage=job.stage, note=f"out of memory: goes on with {micro} rows at a time, accumulated to the same batch"))
        model, tokenizer = backend.load(folder, job)
    shutil.rmtree(artefact.work_folder(job), ignore_errors=True)
    return result


def fitting(job: TrainJob, longest: int, *, unsloth: bool) -> int:
    """Sequences of `longest` tokens that the card's free memory is foretold to hold at once; 1 when not even that."""
    free, _ = torch.cuda.mem_get_info()
    return max(1, plan.largest_micro(job, plan.shape_of(base.locate(job.base)), free, cuda=True, unsloth=unsloth, tokens=longest))


def micro_batches(batch: int, micro: int) -> tuple[int, int]:
    """Rows at a time and how often, for a batch: the largest divisor of it that is no more than `micro`."""
    rows = max(size for size in range(1, min(batch, micro) + 1) if batch % size == 0)
    return rows, batch // rows


def dataset_order(rows: Sequence[Any]) -> list[Any]:
    """Held-back rows by length, so that little of an evaluation is padding."""
    return sorted(rows, key=len)


def _run(
    job: TrainJob, backend: Backend, method: Method, model: Any, tokenizer: Any, data: Rows, micro: int, listen: Listener
) -> tuple[Trainer, dict[str, float]]:
    batches = data.schedule(job)
    steps = len(batches)
    steps_per_epoch = steps if job.together else math.ceil(len(data.train) / job.batch_size)
    work = artefact.work_folder(job)
    evaluates = bool(data.heldout)
    rows, times = micro_batches(job.batch_size, micro)
    settings = {
        **_settings(job, work, steps, min(steps_per_epoch, LONGEST_SPAN), evaluates),
        "per_device_train_batch_size": rows,
        "per_device_eval_batch_size": rows,
        "gradient_accumulation_steps": times,
        **backend.settings(job),
    }
    callbacks = [Tell(job.stage, listen), *([EvaluateAtEnd(), EarlyStoppingCallback(job.patience)] if evaluates else []), Seal()]
    callbacks += [tensorboard(Path(job.logs))] if job.logs else []
    trainer = method.trainer(job, backend, settings, model=model, tokenizer=tokenizer, data=data, callbacks=callbacks)
    trainer.remove_callback(PrinterCallback)
    checkpoint = artefact.last_complete_checkpoint(work)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) or any(words in str(error) for words in _FULL):
            raise TrainingError(f"cannot keep a checkpoint of {job.stage} in {work}: {error}; free space and run it again") from error
        raise
    return trainer, _metrics(trainer, data, batches) | method.metrics(trainer.state.log_history)


def _averaged(trainer: Trainer, model: Any, earlier: Path, weight: float, metrics: dict[str, float]) -> dict[str, float]:
    """What became of an adapter by mixing an earlier one in: its held-out loss, and the one it had by itself."""
    found = {"average_kept": average.mix_in(model, earlier, weight)}
    if "eval_loss" in metrics:
        found |= {"own_eval_loss": metrics["eval_loss"], "eval_loss": trainer.evaluate()["eval_loss"]}
    return found


def _settings(job: TrainJob, work: Path, steps: int, span: int, evaluates: bool) -> dict[str, Any]:
    return {
        "output_dir": str(work),
        "max_steps": steps,
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
        "max_length": None,
        "dataloader_num_workers": 0,
        "disable_tqdm": True,
        "report_to": list(job.report_to) or "none",
    }


def _metrics(trainer: Trainer, data: Rows, batches: Sequence[Sequence[int]]) -> dict[str, float]:
    history = trainer.state.log_history
    seconds = next((entry["train_runtime"] for entry in reversed(history) if "train_runtime" in entry), 0.0)
    trained = [entry for entry in history if "loss" in entry]
    evaluated = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    rows = [row for batch in batches[: trainer.state.global_step] for row in batch]
    lengths, answers = data.lengths(), data.answer_lengths()
    metrics = {
        "train_loss": trained[-1]["loss"],
        "first_train_loss": trained[0]["loss"],
        "epochs": float(trainer.state.epoch or 0.0),
        "steps": float(trainer.state.global_step),
        "train_seconds": seconds,
        "rows": float(len(rows)),
        "distinct_rows": float(len(set(rows))),
        "tokens": float(sum(lengths[row] for row in rows)),
        "answer_tokens": float(sum(answers[row] for row in rows)),
    }
    metrics["tokens_per_s"] = metrics["tokens"] / seconds if seconds else 0.0
    if evaluated:
        metrics |= {"eval_loss": min(evaluated), "first_eval_loss": evaluated[0], "last_eval_loss": evaluated[-1]}
    if torch.cuda.is_available():
        metrics["vram_peak_bytes"] = float(torch.cuda.max_memory_allocated())
    return metrics


def _canaries(model: Any, data: Rows) -> list[artefact.Canary]:
    chosen = data.canaries(CANARIES)
    values = logprobs.of_completions(model, chosen)
    return [
        artefact.Canary(prompt_ids=tuple(prompt), completion_ids=tuple(completion), logprobs=value)
        for (prompt, completion), value in zip(chosen, values, strict=True)
    ]
