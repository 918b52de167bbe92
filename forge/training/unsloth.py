"""Unsloth on CUDA: 4-bit QLoRA or 16-bit LoRA with its kernels and gradient checkpointing.

Importing this module imports `unsloth` first, which patches TRL, transformers and PEFT as they load; without
a CUDA device that import raises, so only `forge.training.pick` imports this, and only where it can run.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from unsloth import FastLanguageModel, is_bfloat16_supported  # isort: skip  it patches what is imported after it
import torch

from forge.errors import TrainingError
from forge.seams import TrainJob, TrainResult
from forge.training import run
from forge.training.methods import method_of
from forge.training.progress import Listener, silent
from forge.training.tail import AnswerTail


class UnslothTrainer:
    """`forge.seams.Trainer` through `FastLanguageModel`; one base is on the card at a time."""

    def __init__(self, *, listen: Listener = silent) -> None:
        self.listen = listen
        self._loaded: tuple[tuple[Path, int, bool], Any, Any] | None = None

    def train(self, job: TrainJob) -> TrainResult:
        """The adapter of `job`, as `forge.training.run.train` makes it."""
        return run.train(job, self, method_of(job), self.listen)

    def load(self, folder: Path, job: TrainJob) -> tuple[Any, Any]:
        """The base and its tokenizer, for sequences of up to the job's `max_tokens`."""
        wanted = folder, job.max_tokens, job.load_in_4bit
        if self._loaded is None or self._loaded[0] != wanted:
            self._release()
            try:
                model, tokenizer = FastLanguageModel.from_pretrained(
                    model_name=str(folder),
                    max_seq_length=job.max_tokens,
                    dtype=None,
                    load_in_4bit=job.load_in_4bit,
                    use_gradient_checkpointing="unsloth",
                )
            except (OSError, ValueError, RuntimeError) as error:
                raise TrainingError(f"Unsloth cannot load the base {job.base} for {job.stage}: {error}") from error
            self._loaded = (wanted, model, tokenizer)
        return self._loaded[1], self._loaded[2]

    def attach(self, model: Any, job: TrainJob) -> Any:
        """The base with a fresh adapter on all seven linears, seeded by the job."""
        return FastLanguageModel.get_peft_model(
            model,
            r=job.rank,
            target_modules=list(run.LINEARS),
            lora_alpha=job.alpha,
            lora_dropout=0,
            bias="none",
            use_gradient_checkpointing="unsloth",
            random_state=job.seed,
            use_rslora=job.rslora,
        )

    def detach(self, model: Any) -> None:  # noqa: ARG002
        """Drop the patched model: Unsloth's fast forwards keep no way back to the bare base, so it is loaded anew."""
        self._release()

    def tail(self, model: Any) -> AnswerTail | None:  # noqa: ARG002
        """None: Unsloth's own kernels stay as they are."""
        return None

    @property
    def sft_settings(self) -> dict[str, Any]:
        """TRL's plain loss, whose chunks would bypass Unsloth's fused one, over rows laid end to end: no padding is computed."""
        return {"loss_type": "nll", "padding_free": True}

    def micro_batch(self, job: TrainJob, longest: int) -> int:
        """What fits the card."""
        return run.fitting(job, longest, unsloth=True)

    def settings(self, job: TrainJob) -> dict[str, Any]:  # noqa: ARG002
        """8-bit AdamW, bfloat16 where the card has it."""
        bfloat16 = is_bfloat16_supported()
        return {"bf16": bfloat16, "fp16": not bfloat16, "gradient_checkpointing": True, "optim": "adamw_8bit"}

    def _release(self) -> None:
        self._loaded = None
        gc.collect()
        torch.cuda.empty_cache()
