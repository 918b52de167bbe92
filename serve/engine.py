"""What vLLM is started with: command line and environment, as plain values, for CPU and CUDA alike."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from forge.config import BaseModelConfig, ServeConfig

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The modules that forge's adapters touch; the engine wraps no others."""

BLOCK_TOKENS = 32
"""KV block on CPU: vLLM's default of 128 there means that short prompts never hit the prefix cache."""

ANY_HOST = ("0.0.0.0", "::")  # noqa: S104  (what is compared with, not bound)


def engine_argv(name: str, model: Path | str, base: BaseModelConfig, serve: ServeConfig, share: float = 1.0) -> list[str]:
    """vLLM's command line for the base `name` in the folder (or of the hub id) `model`, which has this share of the card."""
    argv = ["--model", base.served_weights or str(model), "--served-model-name", name, "--max-model-len", str(base.max_model_tokens)]
    if base.served_weights:  # their config.json says how they are quantised, and vLLM takes the kernel that suits
        argv += ["--tokenizer", str(model)]
    elif base.revision:
        argv += ["--revision", base.revision]
    argv += ["--enable-lora", "--max-loras", str(serve.max_adapters), "--max-cpu-loras", str(2 * serve.max_adapters)]
    argv += ["--max-lora-rank", str(_supported_rank(serve.max_rank)), "--lora-target-modules", *LINEARS]
    argv += ["--max-num-seqs", str(serve.max_sequences), "--enable-prefix-caching", "--disable-log-stats"]
    argv += ["--enable-prompt-tokens-details"]  # how much of a prompt the cache held, in the answer's usage
    if serve.tool_parser:
        argv += ["--enable-auto-tool-choice", "--tool-call-parser", serve.tool_parser]
    return argv + (_cuda_argv(base, serve, share) if serve.gpus > 0 else _cpu_argv(base, serve))


def engine_env(serve: ServeConfig, model: Path | str) -> dict[str, str]:
    """Environment of the engine's processes, which read the weights `model`; it must be set before vLLM is imported."""
    env = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING", "TOKENIZERS_PARALLELISM": "false"}
    if Path(model).is_dir():
        env["HF_HUB_OFFLINE"] = "1"
    if serve.gpus <= 0:
        threads = str(serve.threads)
        env |= {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # else the CPU build adds a worker process to engine and front end
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "TORCHDYNAMO_DISABLE": "1",  # else the first request with logprobs compiles for 40 s
            "CUDA_VISIBLE_DEVICES": "",
        }
    return env


def cluster_env(inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Environment for `ray start --head`: what Ray's and Serve's own processes read once, before any job.

    Without it everything works, slower: workers run at nice 15, Serve hands each request to a second thread, and its proxy asks no
    replica of another machine while one of its own takes requests.
    """
    wanted = {"RAY_worker_niceness": "0", "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0", "RAY_AUTH_MODE": "disabled"}
    wanted |= {"RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0", "RAY_SERVE_PROXY_PREFER_LOCAL_AZ_ROUTING": "0"}
    return {key: inherited.get(key, value) for key, value in wanted.items()}


def reachable_host(host: str, node: str) -> str:
    """What clients connect to when a server listens on `host` of the node with the address `node`."""
    return node if host in ANY_HOST else host


def _cpu_argv(base: BaseModelConfig, serve: ServeConfig) -> list[str]:
    """Prompts are never split: a seeded request whose prompt is split kills the CPU engine (its generators
    have no offset, gpu_model_runner._bookkeeping_sync of vLLM 0.32)."""
    return [
        *("--distributed-executor-backend", "uni", "--worker-cls", "serve.cpu_worker.PackedCPUWorker"),
        *("--dtype", "auto" if base.served_weights else "float32"),  # the kernels of quantised weights know 16 bits alone
        *("--enforce-eager", "--block-size", str(BLOCK_TOKENS), "--kv-cache-memory-bytes", str(serve.kv_cache_bytes)),
        *("--no-enable-chunked-prefill", "--max-num-batched-tokens", str(max(1024, base.max_model_tokens, serve.max_sequences))),
    ]


def _cuda_argv(base: BaseModelConfig, serve: ServeConfig, share: float) -> list[str]:
    argv = ["--dtype", "auto", "--gpu-memory-utilization", f"{serve.gpu_memory_fraction * share:.3f}", "--enable-sleep-mode"]
    return argv + (["--quantization", "bitsandbytes"] if base.load_in_4bit and not base.served_weights else [])


def _supported_rank(rank: int) -> int:
    """The smallest slot rank that vLLM accepts and that holds `rank`."""
    return next(size for size in (8, 16, 32, 64, 128, 256) if size >= rank)
