"""A PEFT adapter as pairs of matrices, and base weights with an adapter added.

A linear layer's weight W, `(out, in)`, becomes W + scale · B A, with A `(rank, in)` and B `(out, rank)`. The scale is
alpha / rank, for rank-stabilised LoRA alpha / √rank (arXiv 2312.03732).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from forge.errors import ExportError
from forge.export.tensors import Floats, Tensors

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
PREFIX = "base_model.model."
"""What PEFT puts before the name of each module."""

UNSUPPORTED = {
    "use_dora": "DoRA",
    "modules_to_save": "whole modules of its own",
    "trainable_token_indices": "tokens of its own",
    "lora_bias": "biases",
    "fan_in_fan_out": "transposed weights",
    "alora_invocation_tokens": "activated LoRA",
    "target_parameters": "bare parameters",
}
"""Settings of a PEFT adapter that no export can carry, in words."""


class Pair(NamedTuple):
    """The change of one linear layer: `alpha / rank` is its scale, whatever way it was trained."""

    a: Floats
    b: Floats
    alpha: float

    @property
    def rank(self) -> int:
        return int(self.a.shape[0])

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def delta(self) -> Floats:
        """What is added to the weight, `(out, in)`."""
        return (self.b @ self.a) * np.float32(self.scale)


class Adapter:
    """A PEFT adapter folder. `pairs` are by module, such as `model.layers.0.mlp.up_proj`.

    Raises `ExportError` for an adapter that is more than LoRA on linear layers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = _settings(folder / CONFIG)
        for key, what in UNSUPPORTED.items():
            if settings.get(key):
                raise ExportError(f"the adapter in {folder} has {what} ({key}), which these exports cannot carry")
        if settings.get("bias", "none") != "none" or "pissa" in str(settings.get("init_lora_weights")):
            raise ExportError(f"the adapter in {folder} changes the base beside its LoRA (bias or PiSSA); convert it to plain LoRA first")
        self.pairs = _pairs(Tensors([folder / WEIGHTS]), settings, folder)

    @property
    def rank(self) -> int:
        """Largest rank of its pairs."""
        return max(pair.rank for pair in self.pairs.values())


class Weights:
    """The weights of a base, with an adapter added where there is one. Adding is done in float32."""

    def __init__(self, base: Tensors, adapter: Adapter | None = None) -> None:
        self.base = base
        self._pairs = {f"{module}.weight": pair for module, pair in adapter.pairs.items()} if adapter else {}
        for name, pair in self._pairs.items():
            wanted = (pair.b.shape[0], pair.a.shape[1])
            if name not in base.names:
                raise ExportError(f"the adapter in {adapter and adapter.folder} changes {name}, which the base does not have")
            if base.shape(name) != wanted:
                raise ExportError(f"the adapter changes {name} as {wanted}, the base has it as {base.shape(name)}: it is of another base")

    @property
    def names(self) -> tuple[str, ...]:
        return self.base.names

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, outputs first."""
        return self.base.shape(name)

    def read(self, name: str) -> Floats:
        """A tensor in float32."""
        found = self.base.read(name)
        if name in self._pairs:
            found += self._pairs[name].delta()
        return found


def relative_change(before: Adapter, after: Adapter) -> float:
    """‖after − before‖ / ‖before‖ of all that is added to the weights (Frobenius): 0 for equal, about 1.4 for unrelated adapters.

    Computed from rank-sized products, as ⟨B₁A₁, B₂A₂⟩ = Σ (B₁ᵀB₂) ∘ (A₁A₂ᵀ). Infinite when the first adds nothing.
    """
    old = sum(_inner(pair, pair) for pair in before.pairs.values())
    new = sum(_inner(pair, pair) for pair in after.pairs.values())
    both = sum(_inner(pair, after.pairs[module]) for module, pair in before.pairs.items() if module in after.pairs)
    difference = math.sqrt(max(0.0, old + new - 2 * both))
    return difference / math.sqrt(old) if old else (math.inf if difference else 0.0)


def _inner(one: Pair, other: Pair) -> float:
    inner = (one.b.astype(np.float64).T @ other.b) * (one.a.astype(np.float64) @ other.a.T)
    return float(inner.sum()) * one.scale * other.scale


def _settings(file: Path) -> dict[str, Any]:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"cannot read {file}: {error}; is {file.parent} a PEFT adapter?") from error
    if not isinstance(settings, dict) or settings.get("peft_type") != "LORA":
        raise ExportError(f"{file} describes no LoRA adapter; only LoRA can be exported")
    return settings


def _pairs(tensors: Tensors, settings: Mapping[str, Any], folder: Path) -> dict[str, Pair]:
    modules: dict[str, dict[str, str]] = {}
    for name in tensors.names:
        found = re.fullmatch(rf"(?:{re.escape(PREFIX)})?(.+)\.lora_([AB])\.weight", name)
        if found is None:
            raise ExportError(f"{folder / WEIGHTS} holds {name}; only lora_A and lora_B of linear layers can be exported")
        modules.setdefault(found[1], {})[found[2]] = name
    if not modules:
        raise ExportError(f"{folder / WEIGHTS} holds no tensors")
    pairs = {}
    for module, names in modules.items():
        if len(names) != 2:
            raise ExportError(f"{folder / WEIGHTS} holds only one of the two matrices of {module}")
        a, b = tensors.read(names["A"]), tensors.read(names["B"])
        alpha = _alpha(module, settings)
        pairs[module] = Pair(a, b, alpha * math.sqrt(a.shape[0]) if settings.get("use_rslora") else alpha)
    return pairs


def _alpha(module: str, settings: Mapping[str, Any]) -> float:
    """The alpha of a module; patterns name modules by the end of their names (`peft.utils.other.get_pattern_key`)."""
    for pattern, alpha in (settings.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return float(alpha)
    return float(settings["lora_alpha"])
