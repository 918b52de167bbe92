"""vLLM's CPU worker with a multi-LoRA path that is fast and keeps base and adapters apart.

vLLM 0.32 on CPU copies one LoRA matrix *per token* (`lora_weights[indices]`) before it multiplies: measured
here, 12 requests/s where the same engine without adapters does 48. Rows without an adapter have index -1,
which in a mixed batch picks the last slot's matrices. `PackedLora` keeps the adapters of a layer side by side in
one matrix: a step of one adapter takes two products a layer, and so does a small mixed one, in which each row meets
all adapters of the step and those that are not its own are masked. Larger mixed steps are sorted by adapter, which
multiplies no row in vain. Rows of the base are not touched.

Chosen by `worker_cls` in `serve.engine`; it is imported in the engine's own process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from vllm.lora.layers import LoRAMapping
from vllm.lora.model_manager import LoRAModelManager
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform
from vllm.v1.worker.cpu_worker import CPUWorker

IN_VAIN = 200_000
"""Multiplications for each adapter of a mixed step up to which it is masked: about what two more products cost besides theirs."""


class Packed(NamedTuple):
    """The adapters of one layer: A `(in, columns)` and B `(columns, out)`; slot `s` has the columns `edges[s]` to `edges[s + 1]`.

    As many for each output slice as the slot's adapter has ranks here, not as many as it might have.
    """

    a: torch.Tensor
    b: torch.Tensor
    edges: tuple[int, ...]


class PackedCPUWorker(CPUWorker):
    """`CPUWorker` whose LoRA layers use `PackedLora`."""

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        type(current_platform).get_punica_wrapper = staticmethod(lambda: f"{__name__}.PackedLora")
        LoRAModelManager.activate_adapter = _counted(LoRAModelManager.activate_adapter)
        super().load_model(*args, **kwargs)


def _counted(activate: Callable[[LoRAModelManager, int], bool]) -> Callable[[LoRAModelManager, int], bool]:
    """Writing an adapter into its slot, told to `PackedLora`."""

    @wraps(activate)
    def activate_adapter(manager: LoRAModelManager, lora_id: int) -> bool:
        loaded = activate(manager, lora_id)
        PackedLora.loads += loaded
        return loaded

    return activate_adapter


class PackedLora(PunicaWrapperCPU):
    """Adds `x @ A @ B` of each row's own adapter."""

    loads = 0
    """Adapters written into slots so far; what was packed before the last of them is out of date."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._packed: dict[int, Packed] = {}
        self._packed_at = 0
        self._groups: list[tuple[int, int, int]] = []
        self._rows: torch.Tensor | None = None
        self._own = np.empty(0, dtype=np.int64)
        self._masks: dict[tuple[int, ...], torch.Tensor] = {}

    def update_metadata(
        self, mapping: LoRAMapping, lora_index_to_id: list[int | None], max_loras: int, vocab_size: int, **kwargs: Any
    ) -> None:
        super().update_metadata(mapping, lora_index_to_id, max_loras, vocab_size, **kwargs)
        ids = np.asarray(mapping.index_mapping, dtype=np.int64)
        order = np.argsort(ids, kind="stable")
        order = order[np.searchsorted(ids[order], 1) :]
        present, starts, counts = np.unique(ids[order], return_index=True, return_counts=True)
        slots = [lora_index_to_id.index(int(adapter)) for adapter in present]
        self._groups = sorted(zip(slots, starts.tolist(), (starts + counts).tolist(), strict=True))
        in_order = len(order) == len(ids) and bool((np.diff(order) == 1).all())
        self._rows = None if in_order else torch.from_numpy(order)
        self._own = np.full(len(ids), -1)
        for slot, start, end in self._groups:
            self._own[order[start:end]] = slot
        self._masks.clear()

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **_: Any,
    ) -> None:
        """Adds to `y` (rows, sum of slices) the adapters' share of `x` (rows, in). `scale` is 1: B carries it."""
        if not self._groups:
            return
        if self._packed_at != PackedLora.loads:
            self._packed_at = PackedLora.loads
            self._packed.clear()
        key = lora_a_stacked[0].data_ptr()
        if key not in self._packed:
            self._packed[key] = _packed(lora_a_stacked, lora_b_stacked, output_slices)
        a, b, edges = packed = self._packed[key]
        first, last = edges[self._groups[0][0]], edges[self._groups[-1][0] + 1]
        if self._rows is None and len(self._groups) == 1:
            y.addmm_(x @ a[:, first:last], b[first:last], alpha=scale)
        elif x.shape[0] * (last - first) * (a.shape[0] + b.shape[1]) <= IN_VAIN * len(self._groups):
            inner = (x @ a[:, first:last]).mul_(self._mask(edges, x.dtype)[:, first:last])
            y.addmm_(inner, b[first:last], alpha=scale)
        else:
            self._add_sorted(y, x, packed, scale)

    def _mask(self, edges: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """For each row of the step, one for the columns of its own adapter."""
        if edges not in self._masks:
            slot_of_column = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
            self._masks[edges] = torch.from_numpy(self._own[:, None] == slot_of_column).to(dtype)
        return self._masks[edges]

    def _add_sorted(self, y: torch.Tensor, x: torch.Tensor, packed: Packed, scale: float) -> None:
        """Each adapter's rows with its own part of the matrices."""
        inputs = x if self._rows is None else x.index_select(0, self._rows)
        deltas = torch.empty((inputs.shape[0], y.shape[1]), dtype=y.dtype)
        for slot, start, end in self._groups:
            own = slice(packed.edges[slot], packed.edges[slot + 1])
            torch.mm(inputs[start:end] @ packed.a[:, own], packed.b[own], out=deltas[start:end])
        if self._rows is None:
            y.add_(deltas, alpha=scale)
        else:
            y.index_add_(0, self._rows, deltas, alpha=scale)


def _packed(stacked_a: tuple[torch.Tensor, ...], stacked_b: tuple[torch.Tensor, ...], output_slices: tuple[int, ...]) -> Packed:
    """The engine's slot tensors, A `(slots, 1, rank, in)` and B `(slots, 1, out, rank)` for each output slice, side by side."""
    used = torch.stack([one[:, 0].abs().amax(dim=2) for one in stacked_a]).amax(dim=0) > 0  # what an adapter has no rank for is zero
    ranks = [int(row.nonzero().max()) + 1 if row.any() else 0 for row in used]
    edges = (0, *accumulate(rank * len(stacked_a) for rank in ranks))
    b = stacked_b[0].new_zeros((edges[-1], sum(output_slices)))
    rows = []
    for slot, rank in enumerate(ranks):
        top, left = edges[slot], 0
        for one, other, out in zip(stacked_a, stacked_b, output_slices, strict=True):
            rows.append(one[slot, 0, :rank])
            b[top : top + rank, left : left + out] = other[slot, 0, :, :rank].t()
            top, left = top + rank, left + out
    return Packed(torch.cat(rows).t(), b, edges)
