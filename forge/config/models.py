"""Bases, adapters, the engine that serves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from forge.config.section import Section

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Hosts that only this machine reaches."""


class BaseModelConfig(Section):
    """A frozen base. `nano` is the one that ships with forge; anything else is a folder or a hub id."""

    model: str = "nano"
    """`nano`, a folder, or a hub id."""
    revision: str | None = None
    """Commit or tag on the hub."""
    load_in_4bit: bool = False
    """QLoRA on CUDA; refused on CPU."""
    max_model_tokens: int = Field(1024, ge=128)
    """Context length, in tokens, of training and serving."""
    served_weights: str = ""
    """Folder or hub id of the same base quantised for inference, with AWQ say, which vLLM serves from: on a card, or on CPUs that have
    AVX-512. Training, tokenizer and chat template stay with `model`, and so do the adapters."""
    serve_share: float | None = Field(None, gt=0.0, le=1.0)
    """Share of `serve.gpus` and of the card's memory that its engine has; an equal one when not given."""

    @field_validator("served_weights")
    @classmethod
    def _absolute(cls, weights: str) -> str:
        # Jobs run in other folders than the one where a path was given; a hub id stays as it is.
        folder = Path(weights).expanduser()
        return str(folder.absolute()) if weights and (weights[0] in "./~" or folder.is_dir()) else weights


class StageConfig(Section):
    """What deviates from a stage's own defaults (`forge.stages`); `None` keeps the default."""

    base: str = "main"
    """Which of `bases` it is trained on."""
    rank: int | None = Field(None, ge=1, le=256)
    """Of the LoRA matrices; its alpha is twice that."""
    learning_rate: float | None = Field(None, gt=0)
    """Highest one, after the warm-up."""
    epochs: float | None = Field(None, gt=0)
    """Passes over the rows at most."""
    batch_size: int | None = Field(None, ge=1)
    """Rows per optimizer step; `training.batch_size` when it is not given."""
    max_steps: int | None = Field(None, ge=1)
    """Optimizer steps at most: many rows want fewer passes than few."""
    max_answer_tokens: int | None = Field(None, ge=1)
    """Of one answer, when it is sampled."""


class DpoConfig(Section):
    """What deviates when preferences are trained on: far smaller steps, one pass (arXiv 2305.18290, appendix B; Zephyr, 2310.16944)."""

    beta: float = Field(0.1, gt=0.0)
    """How strongly an adapter keeps to the base."""
    learning_rate: float = Field(5e-6, gt=0)
    """Highest one, after the warm-up."""
    epochs: float = Field(1.0, gt=0)
    """Passes over the pairs."""
    sft_weight: float = Field(0.0, ge=0.0)
    """Weight of the supervised loss of the better answer beside the preference (arXiv 2404.19733): 0 is DPO alone."""
    start: Literal["base", "promoted"] = "promoted"
    """`promoted`: the weights of the stage's promoted adapter, where there is one of the same rank, are gone on from."""


class SweepConfig(Section):
    """`forge train --sweep`: which settings are tried before a stage is trained with the best ones."""

    trials: int = Field(0, ge=0)
    """Settings tried for each stage; 0 tries none."""
    at_once: int = Field(4, ge=1, le=32)
    """Adapters trained side by side on one base."""
    share: float = Field(1.0, gt=0.0, le=1.0)
    """Share of the stage's steps that each trial takes."""
    ranks: list[int] = [8, 16, 32]
    """Ranks that are tried; the highest must not exceed serve.max_rank where the adapter is to be served."""
    alpha_ratios: list[float] = [1.0, 2.0, 4.0]
    """Alpha as a multiple of the rank."""
    learning_rates: tuple[float, float] = (5e-5, 2e-3)
    """Lowest and highest, drawn by their logarithm."""


class TrainingConfig(Section):
    """How adapters are trained, always from the frozen base."""

    backend: Literal["auto", "unsloth", "trl"] = "auto"
    """`auto`: Unsloth when CUDA is there, TRL with PEFT otherwise."""
    batch_size: int = Field(16, ge=1)
    """Rows per optimizer step."""
    eval_fraction: float = Field(0.1, ge=0.0, lt=0.5)
    """Share of rows kept back for early stopping on held-out loss; 0 trains on all of them, to the end of the schedule."""
    patience: int = Field(2, ge=1)
    """Evaluations without improvement before training stops."""
    threads: int = Field(2, ge=1)
    """CPU threads of the training worker; ignored on CUDA."""
    gpus: float = Field(0.0, ge=0.0)
    """Ray GPUs that the training worker holds."""
    rslora: bool = False
    """Scale by alpha / √rank in place of alpha / rank, which keeps high ranks learning (arXiv 2312.03732)."""
    slow_average: float = Field(0.0, ge=0.0, lt=1.0)
    """Share of a stage's promoted adapter that is mixed into each new one (after I-LoRA, arXiv 2402.18865); 0 keeps rounds apart."""
    tensorboard: bool = True
    """Losses to the workspace's folder `tensorboard`."""
    report_to: list[Literal["wandb", "mlflow"]] = []
    """Other trackers; their packages and keys are yours to provide."""
    data: str = ""
    """`forge train`: folder of a mined set, or of <stage>/*.parquet."""
    only: list[str] = []
    """`forge train`: stages to train, all that have rows when empty."""
    method: Literal["sft", "dpo"] = "sft"
    """`forge train`: `dpo` trains on preferences."""
    combined: bool = False
    """`forge train`: one adapter over all stages, from the same rows, in place of one a stage."""
    dpo: DpoConfig = DpoConfig()
    sweep: SweepConfig = SweepConfig()


class ReplicasConfig(Section):
    """Replicas of each base. A number n in its place stands for min and max n."""

    min: int = Field(1, ge=1)
    """Replicas that are always there."""
    max: int = Field(1, ge=1)
    """Replicas at most; Ray Serve starts and ends those above `min` by load. Each holds GPUs of its own, as many as one does."""
    requests_each: float = Field(32.0, gt=0)
    """Requests under way that a replica is meant to have: with more of them another is started, as far as `max` goes."""

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return {"min": value, "max": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _order(self) -> ReplicasConfig:
        if self.max < self.min:
            raise ValueError(f"max={self.max} is below min={self.min}; raise it")
        return self

    @property
    def several(self) -> bool:
        """Whether there can be more than one at a time."""
        return self.max > 1


class ServeConfig(Section):
    """The endpoint: engines, their adapters, and who may ask."""

    replicas: ReplicasConfig = ReplicasConfig()
    engine: Literal["auto", "vllm", "llama"] = "auto"
    """`auto`: vLLM where it is installed, else llama.cpp's llama-server where that is on the PATH."""
    gguf_weights: Literal["auto", "f32", "f16", "q8_0", "q4_k_m"] = "auto"
    """llama.cpp: how small the base's weights are. `auto`: f32 for a base that is run in float32, f16 for others. Adapters stay in f32."""
    host: str = "127.0.0.1"
    """Address that is listened on; another one than loopback needs `keys`."""
    port: int = Field(8123, ge=1024, le=65535)
    """Of OpenAI clients and of the agent."""
    threads: int = Field(1, ge=1)
    """CPU threads of the engine; ignored on CUDA."""
    gpus: float = Field(0.0, ge=0.0)
    """Ray GPUs of all engines together."""
    keys: str = ""
    """File of API keys (forge keys); without one everybody who reaches the port may ask."""
    tool_parser: str = "hermes"
    """vLLM's parser of tool calls, which agents that bring their own tools ask for: hermes is Qwen's; empty for none."""
    max_adapters: int = Field(12, ge=1)
    """Adapter slots of the engine; of more adapters than that the ones used last are in them."""
    max_rank: int = Field(16, ge=1)
    """Highest rank of an adapter that the engine takes."""
    max_sequences: int = Field(64, ge=1)
    """Sequences in one engine step; with llama.cpp fewer where `kv_cache_bytes` does not hold so many of `max_model_tokens`."""
    kv_cache_bytes: int = Field(256 * 2**20, ge=2**20)
    """KV cache on CPU, and of llama.cpp everywhere; of vLLM on CUDA `gpu_memory_fraction` decides."""
    gpu_memory_fraction: float = Field(0.85, gt=0.0, le=0.98)
    """Of the card's memory, for all engines together."""
    start_timeout_s: float = Field(300.0, gt=0)
    """Seconds that an engine may take until it answers."""
    max_request_bytes: int = Field(4 * 2**20, ge=1024)
    """Longer requests are refused."""
    read_s: float = Field(30.0, gt=0)
    """A request that is not sent whole within this time is refused."""
    max_choices: int = Field(256, ge=1)
    """Answers that one request may ask for."""
    max_waiting: int = Field(1024, ge=1)
    """Requests of one replica under way or waiting; those beyond are told to come again."""
    repositories: list[str] = []
    """Git addresses and folders that the agent may be sent to; an entry that ends in / allows all below it. Archives are always taken."""
    environments: bool = False
    """Questions may ask for a Python with the packages that their tree's metadata names. These are fetched as wheels and none of their
    code runs outside a box, but whoever may ask then decides what this machine downloads, and the trial of a suite takes its time."""
    solves: int = Field(2, ge=1)
    """Questions that the agent works on at once; as many times eight more may wait."""
    solve_s: float = Field(600.0, gt=0)
    """Longest wall clock that a question may ask for."""
    max_archive_bytes: int = Field(64 * 2**20, ge=2**20)
    """Longest request with an archive."""
    cache_bytes: int = Field(512 * 2**20, ge=0)
    """Room in the user's cache folder ($XDG_CACHE_HOME/forge) for what retrieval knows of large trees, some 40 MiB for 5,000 files, so
    that of a tree which is asked about again only what changed is read; 0 for none."""
    asleep_wait_s: float = Field(0.0, ge=0)
    """How long a request waits for a card that is lent to training, before it is told to come again."""

    @field_validator("keys")
    @classmethod
    def _absolute(cls, path: str) -> str:
        # Jobs run in other folders than the one where the path was given.
        return str(Path(path).expanduser().absolute()) if path else path

    @model_validator(mode="after")
    def _closed_unless_on_loopback(self) -> ServeConfig:
        if self.host not in LOOPBACK and not self.keys:
            raise ValueError(
                f"serve.host={self.host} is reached by others, so it needs API keys: make one with forge keys add NAME, "
                "and set serve.keys to its file"
            )
        return self
