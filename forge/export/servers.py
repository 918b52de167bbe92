"""Launch lines of servers that pick an adapter per request. Each is a script that its folder can be moved with.

Options as of llama.cpp in llama-cpp-python 0.3.36, vLLM 0.32, and the documentation of SGLang 0.5, LoRAX 0.12 and TGI 3.
Whether a server knows the architecture of a base is its own business: not each of them knows Qwen3 in each version.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` of vLLM takes (`vllm/config/lora.py`)."""
HOST = "127.0.0.1"
BASE = '"$BASE"'


class Launch(NamedTuple):
    """A server's script, and requests that name a stage, as shell lines."""

    script: str
    ask: str


class Server(NamedTuple):
    """What to serve: base (hub id or folder), adapter folders by stage, their largest rank, longest prompt and answer in
    tokens, and a rendered prompt for servers that take no messages."""

    base: str
    adapters: Mapping[str, str]
    rank: int
    context: int | None
    prompt: str


def llama_server(base: str, adapters: Mapping[str, str], context: int | None) -> Launch:
    """llama.cpp's server with all adapters loaded and none applied; a request applies one by its number, from 0."""
    options = ["-m", base, "--lora", ",".join(adapters.values()), "--lora-init-without-apply", "--jinja"]
    options += ["--host", HOST, "--port", "8080", *(["-c", str(context)] if context else [])]
    numbers = {stage: {"lora": [{"id": number, "scale": 1.0}]} for number, stage in enumerate(adapters)}
    return Launch(_script("llama-server", options), _asks(8080, "v1/chat/completions", {s: _chat() | body for s, body in numbers.items()}))


def vllm(server: Server) -> Launch:
    """vLLM: the model of a request is the stage."""
    options = [BASE, "--enable-lora", "--max-loras", str(len(server.adapters)), "--max-lora-rank", str(_at_least(server.rank))]
    options += ["--host", HOST, "--port", "8000", *(["--max-model-len", str(server.context)] if server.context else [])]
    options += ["--lora-modules", *(f"{stage}=./{folder}" for stage, folder in server.adapters.items())]
    asks = {stage: {"model": stage} | _chat() for stage in server.adapters}
    return Launch(_script("vllm serve", options, server.base), _asks(8000, "v1/chat/completions", asks))


def sglang(server: Server) -> Launch:
    """SGLang: the model of a request is `base:stage`, the base under its served name."""
    options = ["--model-path", BASE, "--served-model-name", "base", "--enable-lora", "--max-lora-rank", str(server.rank)]
    options += ["--max-loras-per-batch", str(len(server.adapters) + 1), "--host", HOST, "--port", "30000"]
    options += ["--context-length", str(server.context)] if server.context else []
    options += ["--lora-paths", *(f"{stage}=./{folder}" for stage, folder in server.adapters.items())]
    asks = {stage: {"model": f"base:{stage}"} | _chat() for stage in server.adapters}
    return Launch(_script("python -m sglang.launch_server", options, server.base), _asks(30000, "v1/chat/completions", asks))


def lorax(server: Server) -> Launch:
    """LoRAX: a request names the adapter's folder, as the server sees it."""
    options = ["--model-id", BASE, "--adapter-source", "local", "--hostname", HOST, "--port", "8080"]
    if server.context:
        options += ["--max-total-tokens", str(server.context), "--max-input-length", str(server.context - 1)]
        options += ["--max-batch-prefill-tokens", str(max(4096, server.context))]
    asks = {stage: _generate(server, f"./{folder}", adapter_source="local") for stage, folder in server.adapters.items()}
    return Launch(_script("lorax-launcher", options, server.base), _asks(8080, "generate", asks))


def tgi(server: Server) -> Launch:
    """Text Generation Inference: a request names the stage as its adapter."""
    named = ",".join(f"{stage}=./{folder}" for stage, folder in server.adapters.items())
    options = ["--model-id", BASE, "--lora-adapters", named, "--hostname", HOST, "--port", "8080"]
    if server.context:
        options += ["--max-total-tokens", str(server.context), "--max-input-tokens", str(server.context - 1)]
    return Launch(
        _script("text-generation-launcher", options, server.base),
        _asks(8080, "generate", {stage: _generate(server, stage) for stage in server.adapters}),
    )


OF_FOLDERS: Mapping[str, Callable[[Server], Launch]] = {"vllm": vllm, "sglang": sglang, "lorax": lorax, "tgi": tgi}
"""Servers that load PEFT folders."""


def _script(program: str, options: Sequence[str], base: str | None = None) -> str:
    """A script that starts the program from its own folder, on this machine's own address, with whatever options are added."""
    head = [] if base is None else [f"BASE=${{BASE:-{shlex.quote(base)}}}"]
    words = [option if option == BASE else shlex.quote(option) for option in options]
    return "\n".join(["#!/bin/sh", "set -e", 'cd "$(dirname "$0")"', *head, " ".join(["exec", program, *words, '"$@"'])]) + "\n"


def _asks(port: int, path: str, bodies: Mapping[str, Mapping[str, object]]) -> str:
    lines = []
    for stage, body in bodies.items():
        data = shlex.quote(json.dumps(body))
        lines.append(f"# {stage}\ncurl http://{HOST}:{port}/{path} -H 'Content-Type: application/json' -d {data}")
    return "\n".join(lines)


def _chat() -> dict[str, object]:
    message = {"role": "user", "content": "..."}
    return {"messages": [message], "temperature": 0, "chat_template_kwargs": {"enable_thinking": False}}


def _generate(server: Server, adapter: str, **more: str) -> dict[str, object]:
    return {"inputs": server.prompt, "parameters": {"adapter_id": adapter, "max_new_tokens": 256, **more}}


def _at_least(rank: int) -> int:
    """The smallest rank that vLLM takes and that is no smaller."""
    return next((size for size in VLLM_RANKS if size >= rank), VLLM_RANKS[-1])
