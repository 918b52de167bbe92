"""PEFT through TRL: any CPU, or CUDA where Unsloth is not wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from forge.errors import TrainingError
from forge.seams import TrainJob, TrainResult
from forge.training import run
from forge.training.methods import method_of
from forge.training.progress import Listener, silent
from forge.training.tail import SUPPORTED, AnswerTail


class TrlTrainer:
    """`forge.seams.Trainer` that keeps its base loaded from one job to the next.

    On CPU it computes in float32: without AVX-512 or AMX bfloat16 is emulated, and ten times slower
    (measured: 98 against 9 GFLOP/s on two AVX2 cores).
    """

    def __init__(self, *, threads: int = 2, listen: Listener = silent) -> None:
        self.threads = threads
        self.listen = listen
        self._loaded: tuple[Path, Any, Any] | None = None

    def train(self, job: TrainJob) -> TrainResult:
        """The adapter of `job`, as `forge.training.run.train` makes it. Raises `TrainingError` for a base in 4 bits."""
        if job.load_in_4bit:
            raise TrainingError("load_in_4bit needs CUDA and Unsloth, and this run trains with TRL; set load_in_4bit=false for this base")
        if not torch.cuda.is_available():
            torch.set_num_threads(self.threads)
            # A confident model's probabilities become subnormal numbers, which a CPU computes ten times slower.
            torch.set_flush_denormal(True)
        return run.train(job, self, method_of(job), self.listen)

    def load(self, folder: Path, job: TrainJob) -> tuple[Any, Any]:
        """The base and its tokenizer; loaded once for all jobs on the same folder."""
        if self._loaded is None or self._loaded[0] != folder:
            self._loaded = None
            try:
                tokenizer = AutoTokenizer.from_pretrained(folder)
                model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32)
            except (OSError, ValueError, KeyError) as error:
                raise TrainingError(f"cannot load the base {job.base} for {job.stage}: {error}") from error
            model.requires_grad_(False)
            self._loaded = (folder, model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer)
        return self._loaded[1], self._loaded[2]

    def attach(self, model: Any, job: TrainJob) -> Any:
        """The base with a fresh adapter on all seven linears; seeded, so the same job starts from the same weights."""
        torch.manual_seed(job.seed)
        return get_peft_model(
            model,
            LoraConfig(
                r=job.rank,
                lora_alpha=job.alpha,
                lora_dropout=0.0,
                bias="none",
                use_rslora=job.rslora,
                target_modules=list(run.LINEARS),
                task_type="CAUSAL_LM",
                base_model_name_or_path=job.base,
            ),
        )

    def detach(self, model: Any) -> None:
        """Take the adapter off again; TRL's patched `forward` goes with it."""
        bare = model.unload()
        bare.__dict__.pop("forward", None)
        bare.__dict__.pop("peft_config", None)

    def tail(self, model: Any) -> AnswerTail | None:
        """The short last layer on CPU, for the architecture it knows."""
        bare = model.get_base_model()
        known = bare.config.model_type == SUPPORTED and not bare.model.has_sliding_layers
        return AnswerTail(bare) if known and not torch.cuda.is_available() else None

    @property
    def sft_settings(self) -> dict[str, Any]:
        """Log-probabilities in chunks: no logits of whole batches in memory. Padded: without FlashAttention TRL has no other way."""
        return {"loss_type": "chunked_nll"}

    def micro_batch(self, job: TrainJob, longest: int) -> int:
        """Whole batches on CPU, what fits on a card."""
        return run.fitting(job, longest, unsloth=False) if torch.cuda.is_available() else job.batch_size * method_of(job).sequences

    def settings(self, job: TrainJob) -> dict[str, Any]:  # noqa: ARG002
        """float32 on CPU; bfloat16 and gradient checkpointing on CUDA."""
        if torch.cuda.is_available():
            return {"bf16": True, "gradient_checkpointing": True, "optim": "adamw_torch_fused"}
        return {
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "dataloader_pin_memory": False,
            "optim": "adamw_torch_fused",
        }
