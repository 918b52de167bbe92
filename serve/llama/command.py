"""The command line of llama-server, as plain values. Options as of llama.cpp b11434; they are there since late 2025."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forge.config import BaseModelConfig, ServeConfig
from serve.llama.material import Facts

PAGE = 256
"""llama.cpp rounds the context of a place up to a multiple of this."""
SPARE = 8
"""Tokens that a place has beyond the longest prompt and answer: llama-server stops before its last one."""


def context_of(base: BaseModelConfig) -> int:
    """Tokens of one place."""
    return -(-(base.max_model_tokens + SPARE) // PAGE) * PAGE


def places(base: BaseModelConfig, serve: ServeConfig, facts: Facts, *, exact: bool) -> int:
    """Sequences that are worked on at once: as many as the KV cache has memory for."""
    each = context_of(base) * facts.cached_values * (4 if exact else 2)
    return max(1, min(serve.max_sequences, serve.kv_cache_bytes // each))


def argv(
    base: BaseModelConfig, serve: ServeConfig, facts: Facts, *, weights: str, adapters: Sequence[str], socket: str, exact: bool
) -> list[str]:
    """Options for a base and its adapters, files that are named as seen from the server's folder. `exact`: everything in float32."""
    many, context = places(base, serve, facts, exact=exact), context_of(base)
    options = ["--model", weights, "--host", socket, "--parallel", str(many), "--ctx-size", str(many * context)]
    # A base's own context length may be shorter than its place; forge asks for no more tokens than its configuration says.
    options += ["--override-kv", f"qwen3.context_length=int:{context}"]
    if adapters:
        options += ["--lora", ",".join(adapters), "--lora-init-without-apply"]
    kept = "f32" if exact else "f16"
    options += ["--cache-type-k", kept, "--cache-type-v", kept, "--flash-attn", "off" if exact else "auto"]
    # The cache of prompts in memory does not ask which adapter they were computed with.
    options += ["--cache-ram", "0", "--no-webui", "--no-slots", "--metrics", "--log-verbosity", "2"]
    threads = str(serve.threads)
    device = ["--n-gpu-layers", "999"] if serve.gpus > 0 else ["--device", "none"]
    return [*options, "--threads", threads, "--threads-batch", threads, *device]


def environment(serve: ServeConfig, inherited: Mapping[str, str]) -> dict[str, str]:
    """Environment of llama-server: settings of its own that a person has there are not meant for this one."""
    kept = {name: value for name, value in inherited.items() if not name.startswith("LLAMA_ARG_")}
    return kept if serve.gpus > 0 else kept | {"CUDA_VISIBLE_DEVICES": ""}
