"""What a training job will take before anything is loaded: memory, disk and time, from the base's shape alone.

Memory on a card, in bytes, is the sum of
  weights        2 a parameter, or 0.516 in 4 bits (NF4 with doubly quantised scales, arXiv 2305.14314 §3), embeddings always 2
  adapter        4 a parameter, its gradient 4, AdamW 2 (8 bit) or 8
  activations    checkpoints between layers (moved to the host by Unsloth) and one layer computed again
  logits         whole ones for DPO, chunks of them for SFT
  the rest       CUDA's own, buffers for dequantised weights
times `MARGIN` for fragmentation. On CPU weights and activations are float32 and nothing is computed twice.
Not calibrated on a card yet; `benchmarks/gpu.py` prints what was foretold beside what was measured.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from forge.errors import BaseModelError
from forge.records import Record
from forge.seams import TrainJob

GIB = 2**30
MARGIN = 1.2
CUDA_BYTES = 0.7 * GIB
FOUR_BITS = 0.516
"""Bytes a parameter."""
CHUNK = 256
"""Tokens whose logits are in memory at once in TRL's chunked loss; Unsloth's fused one needs no more."""
LARGEST_MICRO = 16


class Shape(Record):
    """The sizes of a Qwen3-like decoder, from its config.json."""

    hidden: int
    layers: int
    feed_forward: int
    query: int
    """Width of all query heads."""
    key: int
    """Width of all key heads."""
    vocabulary: int
    tied: bool

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of a layer's seven linears."""
        h, f, q, k = self.hidden, self.feed_forward, self.query, self.key
        return {
            "q_proj": (h, q),
            "k_proj": (h, k),
            "v_proj": (h, k),
            "o_proj": (q, h),
            "gate_proj": (h, f),
            "up_proj": (h, f),
            "down_proj": (f, h),
        }

    @property
    def layer_parameters(self) -> int:
        """Weights of all layers' linears."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linears.values())

    @property
    def embedding_parameters(self) -> int:
        """Weights of the embedding, and of the output layer where it is not the same."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    def adapter_parameters(self, rank: int) -> int:
        """Weights of an adapter on all seven linears."""
        return self.layers * rank * sum(inputs + outputs for inputs, outputs in self.linears.values())


def shape_of(base: Path) -> Shape:
    """Read the shape; raises `BaseModelError` when config.json lacks it."""
    try:
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
        heads = config["num_attention_heads"]
        size = config.get("head_dim") or config["hidden_size"] // heads
        return Shape(
            hidden=config["hidden_size"],
            layers=config["num_hidden_layers"],
            feed_forward=config["intermediate_size"],
            query=heads * size,
            key=config.get("num_key_value_heads", heads) * size,
            vocabulary=config["vocab_size"],
            tied=config.get("tie_word_embeddings", False),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BaseModelError(
            f"{base}/config.json does not say the model's shape: {error}; give a causal language model's folder"
        ) from error


def memory_bytes(job: TrainJob, shape: Shape, micro: int, *, cuda: bool, unsloth: bool, tokens: int | None = None) -> int:
    """Memory that training takes with `micro` sequences of `tokens` (the job's longest when not given) at once."""
    tokens = micro * (tokens or job.max_tokens)
    width = 2 if cuda else 4
    layer_bytes = FOUR_BITS if job.load_in_4bit else width
    weights = shape.layer_parameters * layer_bytes + shape.embedding_parameters * width
    adapter = shape.adapter_parameters(job.rank) * (4 + 4 + (2 if unsloth else 8))
    layer = tokens * width * (8 * shape.hidden + 3 * (shape.query + 2 * shape.key) + 5 * shape.feed_forward)
    kept = 2 if unsloth else shape.layers
    checkpoints = kept * tokens * shape.hidden * width if cuda else (shape.layers - 1) * layer
    logits = (tokens if job.method == "dpo" else min(tokens, CHUNK)) * shape.vocabulary * (width + 8)
    rest = CUDA_BYTES + 2 * shape.hidden * shape.feed_forward * (3 if job.load_in_4bit else 0) if cuda else 0
    return int(MARGIN * (weights + adapter + layer + checkpoints + logits + rest))


def largest_micro(job: TrainJob, shape: Shape, memory: int, *, cuda: bool, unsloth: bool, tokens: int | None = None) -> int:
    """The most sequences of `tokens` (the job's longest when not given) that fit into `memory` bytes at once; 0 when not even one does."""
    wanted = min(LARGEST_MICRO, job.batch_size * (2 if job.method == "dpo" else 1))
    fits = [size for size in range(1, wanted + 1) if memory_bytes(job, shape, size, cuda=cuda, unsloth=unsloth, tokens=tokens) <= memory]
    return max(fits, default=0)


def flops(job: TrainJob, shape: Shape, lengths: Sequence[int], *, recomputes: bool) -> float:
    """Floating-point operations of the whole run: 2 a weight and token forward, 2 back (the base gets no gradient), 2 to compute again."""
    weights = shape.layer_parameters + shape.vocabulary * shape.hidden
    passes = sum(lengths) * job.epochs
    if job.max_steps is not None and lengths:
        passes = min(passes, job.max_steps * job.batch_size * sum(lengths) / len(lengths))
    reference = 2 if job.method == "dpo" else 0
    return weights * passes * (4 + (2 if recomputes else 0) + reference)


def disk_bytes(job: TrainJob, shape: Shape) -> int:
    """Bytes on disk while it runs: the adapter, and two checkpoints of it with their optimizer."""
    adapter = shape.adapter_parameters(job.rank) * 4
    return adapter * (1 + 2 * 3)
