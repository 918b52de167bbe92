"""Whose adapter each row of one engine step is for, and where rows go for products of several adapters at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch


class Group(NamedTuple):
    """The rows of one adapter: from `start` to `end` once they are sorted by slot."""

    slot: int
    start: int
    end: int


class Padding(NamedTuple):
    """Where rows go when each slot has as many: the row at each place, the ranks that each unit takes, where each row's units are."""

    rows: torch.Tensor
    ranks: torch.Tensor
    units: torch.Tensor


class StepRows:
    """Rows with an adapter, by slot; `ids` says each row's adapter (0: none), `layout` the adapter in each slot.

    The span is from the first slot that a row is for, `first`, to the last.
    """

    def __init__(self, ids: Sequence[int], layout: Sequence[int | None]) -> None:
        adapters = np.asarray(ids, dtype=np.int64)
        slots = np.full(len(adapters), -1)
        for adapter in np.unique(adapters[adapters > 0]):
            slots[adapters == adapter] = layout.index(int(adapter))
        order = np.argsort(slots, kind="stable")
        order = order[np.searchsorted(slots[order], 0) :]
        present, starts, counts = np.unique(slots[order], return_index=True, return_counts=True)
        self.groups = [Group(*group) for group in zip(present.tolist(), starts.tolist(), (starts + counts).tolist(), strict=True)]
        self.first = int(present.min(initial=len(layout)))
        self.span = int(present.max(initial=self.first - 1)) + 1 - self.first
        self.longest = int(counts.max(initial=0))
        self.all = len(order) == len(slots)
        self.sorted = self.all and bool((np.diff(order) == 1).all())
        self.order = torch.from_numpy(order)
        self.with_adapter = torch.from_numpy(np.flatnonzero(slots >= 0))
        self._slots = slots
        self._places = np.empty(len(slots), dtype=np.int64)
        self._places[order] = np.arange(len(order)) - np.repeat(starts, counts) + (np.repeat(present, counts) - self.first) * self.longest
        self._masks: dict[tuple[int, ...], torch.Tensor] = {}
        self._paddings: dict[tuple[int, ...], Padding] = {}

    def mask(self, edges: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """(rows, columns): one where the column is of the row's slot; the span's slot `s` has those from `edges[s]` to `edges[s + 1]`."""
        if edges not in self._masks:
            slot_of_column = np.repeat(np.arange(self.first, self.first + self.span), np.diff(edges))
            self._masks[edges] = torch.from_numpy(self._slots[:, None] == slot_of_column).to(dtype)
        return self._masks[edges]

    def padding(self, slice_of_unit: tuple[int, ...]) -> Padding:
        """Each slot of the span with `longest` rows; those that are too many are any rows, and no row's units are there."""
        if slice_of_unit not in self._paddings:
            slots, units, rows = self.span, len(slice_of_unit), self.longest
            own = self._places[self._slots >= 0]
            row_at = np.zeros(slots * rows, dtype=np.int64)
            row_at[own] = self.with_adapter.numpy()
            places = np.arange(slots * rows).reshape(slots, 1, rows)
            ranks = places * (max(slice_of_unit) + 1) + np.asarray(slice_of_unit)[:, None]
            outs = (own // rows * units)[:, None] + np.arange(units)
            outs = outs * rows + (own % rows)[:, None]
            self._paddings[slice_of_unit] = Padding(*(torch.from_numpy(one.reshape(-1)) for one in (row_at, ranks, outs)))
        return self._paddings[slice_of_unit]
