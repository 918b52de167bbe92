"""Which engine serves: vLLM where it is, else llama.cpp's own server, which needs no card and little memory."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Literal

from forge.config import ServeConfig
from forge.errors import EnvironmentLackError

Engine = Literal["vllm", "llama"]

VLLM, LLAMA_SERVER = "vllm", "llama-server"
CURE = "put llama.cpp's llama-server on the PATH (docs/decisions/0021-llama.md says how to build it)"


def pick(config: ServeConfig) -> Engine:
    """The engine of a configuration on this machine; raises `EnvironmentLackError` when it is not there."""
    if config.engine != "llama" and importlib.util.find_spec(VLLM) is not None:
        return "vllm"
    if config.engine == "vllm":
        raise EnvironmentLackError(
            "the package vllm is not installed; run make env, or uv pip install -r requirements/cpu.txt (gpu.txt on a card), "
            "or set serve.engine=llama"
        )
    require_llama_server(config)
    return "llama"


def require_llama_server(config: ServeConfig) -> Path:
    """llama.cpp's server; raises `EnvironmentLackError` without one."""
    found = llama_server()
    if found is None:
        lacking = "serve.engine is llama, but" if config.engine == "llama" else "the package vllm is not installed, and"
        other = "set serve.engine=auto" if config.engine == "llama" else "run make env"
        raise EnvironmentLackError(f"{lacking} there is no llama-server here; {CURE}, or {other}")
    return found


def llama_server() -> Path | None:
    """llama.cpp's server: on the PATH, or beside this Python."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.prefix, "bin"))])
    found = shutil.which(LLAMA_SERVER, path=places)
    return Path(found) if found else None
