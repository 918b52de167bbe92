"""Rows whose message or diff is much longer or shorter than the others' (CommitChronicle, arXiv 2308.07655)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from forge.config import OutliersConfig
from forge.records import Record


class Size(Record):
    """How long a row is, in characters."""

    id: str
    message: int
    diff: int


def outliers(rows: Iterable[Size], config: OutliersConfig) -> dict[str, str]:
    """By id, why a row goes; none where there are too few for percentiles."""
    sizes = list(rows)
    if len(sizes) < config.at_least:
        return {}
    messages = _bounds([size.message for size in sizes], config.message_low, config.message_high)
    diffs = _bounds([size.diff for size in sizes], config.diff_low, config.diff_high)
    found: dict[str, str] = {}
    for size in sizes:
        if not messages[0] <= size.message <= messages[1]:
            found[size.id] = "message among the " + ("shortest" if size.message < messages[0] else "longest")
        elif not diffs[0] <= size.diff <= diffs[1]:
            found[size.id] = "diff among the " + ("smallest" if size.diff < diffs[0] else "largest")
    return found


def _bounds(values: list[int], low: float, high: float) -> tuple[float, float]:
    return float(np.quantile(values, low)), float(np.quantile(values, high))
