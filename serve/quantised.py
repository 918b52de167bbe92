"""Weights that a base is served from in place of its own: the same base, quantised for inference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from forge.errors import ConfigError

SHAPE = ("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
"""What adapters of a base depend on, as `config.json` names it."""


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


def _read(folder: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {folder / 'config.json'}: {error}; is this the folder of a base?") from error
    return content
