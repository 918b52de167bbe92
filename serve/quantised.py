"""Weights that a base is served from in place of its own: the same base, quantised for inference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from forge.errors import ConfigError, EnvironmentLackError

SHAPE = ("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
"""What adapters of a base depend on, as `config.json` names it."""

AVX512 = ("avx512f", "avx512dq", "avx512bw", "avx512vl")
"""What a CPU has for which vLLM's wheel (0.32) loads a build with `cpu_gemm_wna16`, its product with weights of 4 bits."""


def method_of(weights: str, base: Path | str) -> str:
    """How the weights are quantised, such as `awq`; empty where that cannot be seen here, as of a hub id.

    Raises `ConfigError` for a folder that is not quantised, or is another base's. That its numbers are this base's it does not prove:
    the canary compares them when an adapter is loaded.
    """
    folder = Path(weights).expanduser()
    if not folder.is_dir():
        return ""
    served = _read(folder)
    method = (served.get("quantization_config") or {}).get("quant_method")
    if not method:
        raise ConfigError(
            f"{folder} is not quantised (no quantization_config in its config.json); leave served_weights out to serve {base}"
        )
    own = _read(Path(base)) if Path(base).is_dir() else {}
    for name in SHAPE:
        if own.get(name) != served.get(name) and own:
            raise ConfigError(f"{folder} is another base than {base}: {name} is {served.get(name)}, not {own.get(name)}")
    return str(method)


def require_kernel(method: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Raises `EnvironmentLackError` where this machine's CPU lacks what vLLM's kernel for such weights takes.

    Looks at this machine alone, and lets pass what it cannot read: an engine on another node fails by itself then.
    """
    flags = next((line.split() for line in _lines(cpuinfo) if line.startswith("flags")), [])
    lacking = [flag for flag in AVX512 if flag not in flags]
    if method and flags and lacking:
        raise EnvironmentLackError(
            f"vLLM reads {method} weights on CPUs with AVX-512 alone, and this one has no {', '.join(lacking)}; leave served_weights out, "
            "serve on a card (serve.gpus), or serve.engine=llama with serve.gguf_weights"
        )


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _read(folder: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {folder / 'config.json'}: {error}; is this the folder of a base?") from error
    return content
