"""vLLM's CPU worker with a multi-LoRA path that is fast and keeps base and adapters apart.

vLLM 0.32 on CPU copies one LoRA matrix *per token* (`lora_weights[indices]`) before it multiplies: measured
here, 12 requests/s where the same engine without adapters does 48. Rows without an adapter have index -1,
which in a mixed batch picks the last slot's matrices. `PackedLora` keeps the adapters of a layer side by side, and
a step of one adapter takes two products a layer. A step of several goes one of three ways: few rows meet all adapters,
and what is not their own is masked; more are padded to as many for each adapter, which two batched products
serve; where that would be mostly padding, rows are sorted by adapter and each adapter takes two products. Rows of the
base are not touched.

Chosen by `worker_cls` in `serve.engine`; it is imported in the engine's own process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from itertools import accumulate
from math import gcd, prod
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from vllm.lora.layers import LoRAMapping
from vllm.lora.model_manager import LoRAModelManager
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform
from vllm.v1.worker.cpu_worker import CPUWorker

from serve.lora_rows import StepRows

MASKED = 400_000
"""Multiplications up to which a mixed step is masked: with more, those in vain cost more than gathering rows for batched products."""

PADDED = 400_000
"""Multiplications with padding up to which rows are padded, for each adapter of a step: about what two more products cost beside theirs."""

LARGE = 2**16
"""Elements from which memory for a product is kept."""

Stacked = tuple[torch.Tensor, ...]
"""The engine's slot tensors of a layer, one for each output slice: A `(slots, 1, rank, in)`, B `(slots, 1, out, rank)`."""


class Packed(NamedTuple):
    """The adapters of one layer: A `(in, columns)` and B `(columns, out)`; slot `s` has the columns `edges[s]` to `edges[s + 1]`.

    As many for each output slice as the slot's adapter has ranks here, not as many as it might have.
    """

    a: torch.Tensor
    b: torch.Tensor
    edges: tuple[int, ...]

    def of(self, first: int, span: int) -> Packed:
        """A view of these slots alone."""
        left, right = self.edges[first], self.edges[first + span]
        return Packed(self.a[:, left:right], self.b[left:right], tuple(edge - left for edge in self.edges[first : first + span + 1]))


class Batched(NamedTuple):
    """The same for batched products, all slots with the highest rank: A `(slots, in, slices * rank)`, B `(slots * units, rank, unit)`.

    A unit is an equal part of one output slice: unlike in `Packed`, no rank meets slices that are not its own.
    """

    a: torch.Tensor
    b: torch.Tensor
    slice_of_unit: tuple[int, ...]

    def of(self, first: int, span: int) -> Batched:
        """A view of these slots alone."""
        units = len(self.slice_of_unit)
        return Batched(self.a[first : first + span], self.b[first * units : (first + span) * units], self.slice_of_unit)


Arranged = TypeVar("Arranged", Packed, Batched)


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
        self._rows = StepRows((), ())
        self._packed = Layers(_packed)
        self._batched = Layers(_batched)
        self._packed_at = 0
        self._kept = Kept()

    def update_metadata(
        self, mapping: LoRAMapping, lora_index_to_id: list[int | None], max_loras: int, vocab_size: int, **kwargs: Any
    ) -> None:
        super().update_metadata(mapping, lora_index_to_id, max_loras, vocab_size, **kwargs)
        self._rows = StepRows(mapping.index_mapping, lora_index_to_id)

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: Stacked,
        lora_b_stacked: Stacked,
        scale: float,
        output_slices: tuple[int, ...],
        **_: Any,
    ) -> None:
        """Adds to `y` (rows, sum of slices) the adapters' share of `x` (rows, in). `scale` is 1: B carries it."""
        rows = self._rows
        if not rows.groups:
            return
        if self._packed_at != PackedLora.loads:
            self._packed_at = PackedLora.loads
            self._packed.clear()
            self._batched.clear()
        layer = (lora_a_stacked, lora_b_stacked, output_slices)
        packed = self._packed.of(*layer, rows)
        if rows.all and len(rows.groups) == 1:
            y.addmm_(x @ packed.a, packed.b, alpha=scale)
        elif x.shape[0] * (packed.a.numel() + packed.b.numel()) <= MASKED:
            y.addmm_((x @ packed.a).mul_(rows.mask(packed.edges, x.dtype)), packed.b, alpha=scale)
        elif _padding(rows, batched := self._batched.of(*layer, rows)) <= PADDED * len(rows.groups):
            _add_padded(y, x, batched, rows, scale, self._kept)
        else:
            _add_sorted(y, x, packed, rows, scale)


class Layers(Generic[Arranged]):
    """What `arrange` made of each layer's slots, and the views of it that steps asked for; kept until `clear`."""

    def __init__(self, arrange: Callable[[Stacked, Stacked, tuple[int, ...]], Arranged]) -> None:
        self._arrange: Callable[[Stacked, Stacked, tuple[int, ...]], Arranged] = arrange
        self._whole: dict[int, Arranged] = {}
        self._views: dict[tuple[int, int, int], Arranged] = {}

    def of(self, stacked_a: Stacked, stacked_b: Stacked, output_slices: tuple[int, ...], rows: StepRows) -> Arranged:
        """The slots of the step's span."""
        layer = stacked_a[0].data_ptr()
        key = (layer, rows.first, rows.span)
        if key not in self._views:
            if layer not in self._whole:
                self._whole[layer] = self._arrange(stacked_a, stacked_b, output_slices)
            self._views[key] = self._whole[layer].of(rows.first, rows.span)
        return self._views[key]

    def clear(self) -> None:
        self._whole.clear()
        self._views.clear()


class Kept:
    """Memory for large products that stays: a new block for each costs more in page faults than the product itself."""

    def __init__(self) -> None:
        self._blocks: dict[int, torch.Tensor] = {}

    def __call__(self, place: int, like: torch.Tensor, *shape: int) -> torch.Tensor | None:
        """A tensor of this shape, valid until the place is asked for again; none where it is small, and best made anew."""
        size = prod(shape)
        if size < LARGE:
            return None
        block = self._blocks.get(place)
        if block is None or len(block) < size or block.dtype != like.dtype:
            block = self._blocks[place] = like.new_empty(size)
        return block[:size].view(shape)


def _padding(rows: StepRows, batched: Batched) -> int:
    """Multiplications with rows that are padding."""
    too_many = rows.span * rows.longest - rows.groups[-1].end
    return int(too_many * (batched.a.numel() + batched.b.numel()) // rows.span)


def _add_padded(y: torch.Tensor, x: torch.Tensor, batched: Batched, rows: StepRows, scale: float, kept: Kept) -> None:
    """Two products for all adapters, each of which has as many rows."""
    a, b, slice_of_unit = batched
    padding = rows.padding(slice_of_unit)
    inputs = torch.index_select(x, 0, padding.rows, out=kept(0, x, len(padding.rows), x.shape[1]))
    inner = torch.bmm(inputs.view(rows.span, rows.longest, -1), a)
    if len(slice_of_unit) > 1:
        inner = inner.view(-1, b.shape[1]).index_select(0, padding.ranks).view(len(b), rows.longest, -1)
    made = torch.bmm(inner, b, out=kept(1, x, len(b), rows.longest, b.shape[2]))
    deltas = torch.index_select(made.view(-1, b.shape[2]), 0, padding.units, out=kept(2, x, len(padding.units), b.shape[2]))
    deltas = deltas.view(-1, y.shape[1])
    if rows.all:
        y.add_(deltas, alpha=scale)
    else:
        y.index_add_(0, rows.with_adapter, deltas, alpha=scale)


def _add_sorted(y: torch.Tensor, x: torch.Tensor, packed: Packed, rows: StepRows, scale: float) -> None:
    """Each adapter's rows with its own part of the matrices."""
    inputs = x if rows.sorted else x.index_select(0, rows.order)
    deltas = torch.empty((inputs.shape[0], y.shape[1]), dtype=y.dtype)
    for slot, start, end in rows.groups:
        own = slice(packed.edges[slot - rows.first], packed.edges[slot - rows.first + 1])
        torch.mm(inputs[start:end] @ packed.a[:, own], packed.b[own], out=deltas[start:end])
    if rows.sorted:
        y.add_(deltas, alpha=scale)
    else:
        y.index_add_(0, rows.order, deltas, alpha=scale)


def _packed(stacked_a: Stacked, stacked_b: Stacked, output_slices: tuple[int, ...]) -> Packed:
    """The engine's slot tensors side by side."""
    ranks = _ranks(stacked_a)
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


def _batched(stacked_a: Stacked, stacked_b: Stacked, output_slices: tuple[int, ...]) -> Batched:
    """The engine's slot tensors one upon another."""
    rank = max(_ranks(stacked_a))
    unit = gcd(*output_slices)
    a = torch.cat([one[:, 0, :rank] for one in stacked_a], dim=1).transpose(1, 2).contiguous()
    b = torch.cat([other[:, 0, :, :rank].unflatten(1, (-1, unit)) for other in stacked_b], dim=1).transpose(2, 3)
    return Batched(a, b.flatten(0, 1).contiguous(), tuple(number for number, out in enumerate(output_slices) for _ in range(out // unit)))


def _ranks(stacked_a: Stacked) -> list[int]:
    """For each slot the ranks that its adapter has here; what it has none for is zero."""
    used = torch.stack([one[:, 0].abs().amax(dim=2) for one in stacked_a]).amax(dim=0) > 0
    return [int(row.nonzero().max()) + 1 if row.any() else 0 for row in used]
