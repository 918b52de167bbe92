"""An adapter mixed with an earlier one: a slow-moving average across rounds, after I-LoRA (arXiv 2402.18865).

I-LoRA averages the factors A and B of one run's steps. Adapters of different rounds are trained apart, and the same change of a
weight has many pairs of factors, so the changes themselves are averaged here: w BᵢAᵢ + (1 - w) BA, brought back to the rank by
the best approximation there is, a truncated singular value decomposition.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import load_peft_weights

NAME = "default"


@torch.no_grad()
def mix_in(model: Any, earlier: Path, weight: float) -> float:
    """Make the model's adapter `weight` parts of the adapter in `earlier` and 1 - `weight` parts of itself.

    The result is the share of the mixture's squared norm that its rank could hold, over all linears.
    """
    stored = load_peft_weights(str(earlier), device="cpu")
    kept = whole = 0.0
    for name, layer in _layers(model):
        own_a, own_b = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight
        other_a, other_b = (stored[f"{name}.lora_{which}.weight"].to(own_a.device, torch.float32) for which in "AB")
        a, b, values = truncated(
            torch.cat([(1 - weight) * own_b.float(), weight * other_b], dim=1), torch.cat([own_a.float(), other_a]), own_a.shape[0]
        )
        own_a.copy_(a)
        own_b.copy_(b)
        kept += float(values[: own_a.shape[0]].square().sum())
        whole += float(values.square().sum())
    return kept / whole if whole else 1.0


def truncated(left: torch.Tensor, right: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Factors (rank, in) and (out, rank) of the best approximation to `left` (out, k) times `right` (k, in); all singular values."""
    left_basis, left_rest = torch.linalg.qr(left)
    right_basis, right_rest = torch.linalg.qr(right.T)
    u, values, v = torch.linalg.svd(left_rest @ right_rest.T)
    root = values[:rank].sqrt()
    return root[:, None] * (v[:rank] @ right_basis.T), (left_basis @ u[:, :rank]) * root, values


def _layers(model: Any) -> Iterator[tuple[str, Any]]:
    for name, module in model.named_modules():
        if NAME in getattr(module, "lora_A", {}):
            yield name, module
