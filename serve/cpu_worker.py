"""vLLM's CPU worker with a multi-LoRA path that is fast and keeps base and adapters apart.

vLLM 0.32 on CPU copies one LoRA matrix *per token* (`lora_weights[indices]`) before it multiplies: measured
here, 12 requests/s where the same engine without adapters does 48. Rows without an adapter have index -1,
which in a mixed batch picks the last slot's matrices. `GroupedLora` sorts the rows of a step by adapter and
multiplies each group once; rows of the base are not touched.

Chosen by `worker_cls` in `serve.engine`; it is imported in the engine's own process.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from vllm.lora.layers import LoRAMapping
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform
from vllm.v1.worker.cpu_worker import CPUWorker

Views = list[list[tuple[torch.Tensor, torch.Tensor]]]
"""For each output slice, for each slot: A transposed `(in, rank)` and B transposed `(rank, out)`."""


class GroupedCPUWorker(CPUWorker):
    """`CPUWorker` whose LoRA layers use `GroupedLora`."""

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        type(current_platform).get_punica_wrapper = staticmethod(lambda: f"{__name__}.GroupedLora")
        super().load_model(*args, **kwargs)


class GroupedLora(PunicaWrapperCPU):
    """Adds `x @ A @ B` of each row's own adapter, one pair of products per adapter in the step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._views: dict[int, Views] = {}
        self._groups: list[tuple[int, int, int]] = []
        self._rows: torch.Tensor | None = None

    def update_metadata(
        self, mapping: LoRAMapping, lora_index_to_id: list[int | None], max_loras: int, vocab_size: int, **kwargs: Any
    ) -> None:
        super().update_metadata(mapping, lora_index_to_id, max_loras, vocab_size, **kwargs)
        ids = np.asarray(mapping.index_mapping, dtype=np.int64)
        order = np.argsort(ids, kind="stable")
        order = order[np.searchsorted(ids[order], 1) :]
        present, starts, counts = np.unique(ids[order], return_index=True, return_counts=True)
        slots = [lora_index_to_id.index(int(adapter)) for adapter in present]
        self._groups = list(zip(slots, starts.tolist(), (starts + counts).tolist(), strict=True))
        in_order = len(order) == len(ids) and bool((np.diff(order) == 1).all())
        self._rows = None if in_order else torch.from_numpy(order)

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
        inputs = x if self._rows is None else x.index_select(0, self._rows)
        deltas = torch.empty((inputs.shape[0], y.shape[1]), dtype=y.dtype)
        left = 0
        for slots, size in zip(self._slot_views(lora_a_stacked, lora_b_stacked), output_slices, strict=True):
            for slot, start, end in self._groups:
                a, b = slots[slot]
                torch.mm(inputs[start:end] @ a, b, out=deltas[start:end, left : left + size])
            left += size
        if self._rows is None:
            y.add_(deltas, alpha=scale)
        else:
            y.index_add_(0, self._rows, deltas, alpha=scale)

    def _slot_views(self, stacked_a: tuple[torch.Tensor, ...], stacked_b: tuple[torch.Tensor, ...]) -> Views:
        """Transposed views into the engine's slot tensors, which live as long as their layer and are written in place."""
        key = stacked_a[0].data_ptr()
        if key not in self._views:
            pairs = zip(stacked_a, stacked_b, strict=True)
            self._views[key] = [[(a[slot, 0].t(), b[slot, 0].t()) for slot in range(a.shape[0])] for a, b in pairs]
        return self._views[key]
