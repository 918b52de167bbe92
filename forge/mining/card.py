"""The data card of a mined set: what it holds, what was left out and why, and rows to read."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

from forge.mining.counts import MiningCounts
from forge.mining.enrich.judge import Calibration
from forge.mining.row import Row
from forge.records import Record

SHOWN = 20
"""Rows that a card shows."""
BINS = 24


class Spread(Record):
    """How one length is spread: quantiles, and a histogram of `counts` between `edges`, one more than these."""

    name: str
    low: float
    """5 % of all are below."""
    median: float
    high: float
    """95 % of all are below."""
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class Shown(Record):
    """One row as a reader sees it."""

    id: str
    authored_at: str
    message: str
    instruction: str
    instruction_by: str
    licence: str
    stages: str
    """Whether the stages learn from it, or why not."""
    score: float | None
    diff: str


class DataCard(Record):
    """Everything that the card says; `counts` has what was dropped by reason."""

    name: str
    made: str
    """ISO date and time."""
    code_version: str
    settings: str
    """The mining part of the configuration, as YAML."""
    counts: MiningCounts
    repositories: dict[str, int]
    """Kept rows of each."""
    languages: dict[str, int]
    licences: dict[str, int]
    years: dict[str, int]
    told_by: dict[str, int]
    """Who said what was asked for."""
    sides: dict[str, int]
    lengths: tuple[Spread, ...]
    scores: Spread | None = None
    calibration: Calibration | None = None
    shown: tuple[Shown, ...]


class Tally:
    """Counts rows as they stream by, and keeps a fair sample of them (reservoir sampling)."""

    def __init__(self, seed: int = 0, shown: int = SHOWN) -> None:
        self._chance = random.Random(seed)
        self._size = shown
        self._seen = 0
        self.shown: list[Row] = []
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in ("repo", "language", "licence", "year", "told_by", "side")}
        self.lengths: dict[str, list[int]] = {"characters in the instruction": [], "changed lines": [], "files": [], "functions": []}
        self.scores: dict[str, float] = {}

    def add(self, rows: Iterable[Row]) -> None:
        """Count these rows too."""
        for row in rows:
            self._count(row)
            self._measure(row)
            self._perhaps_keep(row)

    def _count(self, row: Row) -> None:
        self.counts["repo"][row.repo] += 1
        self.counts["language"].update(row.languages)
        self.counts["licence"][row.licence] += 1
        self.counts["year"][row.authored_at[:4]] += 1
        self.counts["told_by"][row.instruction_by] += 1
        self.counts["side"]["held out" if row.heldout else "train"] += 1

    def _measure(self, row: Row) -> None:
        self.lengths["characters in the instruction"].append(len(row.instruction))
        self.lengths["changed lines"].append(changed_lines(row.diff))
        self.lengths["files"].append(len(row.files))
        self.lengths["functions"].append(len(row.functions))
        if row.score is not None:
            self.scores[row.id] = row.score

    def _perhaps_keep(self, row: Row) -> None:
        self._seen += 1
        if len(self.shown) < self._size:
            self.shown.append(row)
        elif (place := self._chance.randrange(self._seen)) < self._size:
            self.shown[place] = row


def card_of(
    tally: Tally, counts: MiningCounts, *, name: str, made: str, code_version: str, settings: str, calibration: Calibration | None = None
) -> DataCard:
    """The card of what was tallied."""
    ordered = {key: dict(counter.most_common()) for key, counter in tally.counts.items()}
    return DataCard(
        name=name,
        made=made,
        code_version=code_version,
        settings=settings,
        counts=counts,
        repositories=ordered["repo"],
        languages=ordered["language"],
        licences=ordered["licence"],
        years=dict(sorted(ordered["year"].items())),
        told_by=ordered["told_by"],
        sides=ordered["side"],
        lengths=tuple(spread_of(name, values) for name, values in tally.lengths.items() if values),
        scores=spread_of("score", list(tally.scores.values())) if tally.scores else None,
        calibration=calibration,
        shown=tuple(_shown(row) for row in tally.shown),
    )


def spread_of(name: str, values: Sequence[float]) -> Spread:
    """How values spread; the histogram ends at the 99th percentile, and what is larger counts in its last bin."""
    ordered = sorted(values)
    low, top = ordered[0], max(_quantile(ordered, 0.99), ordered[0] + 1)
    width = (top - low) / BINS
    counts = [0] * BINS
    for value in ordered:
        counts[min(BINS - 1, int((value - low) / width))] += 1
    edges = tuple(low + width * number for number in range(BINS + 1))
    return Spread(
        name=name,
        low=_quantile(ordered, 0.05),
        median=statistics.median(ordered),
        high=_quantile(ordered, 0.95),
        edges=edges,
        counts=tuple(counts),
    )


def changed_lines(diff: str) -> int:
    """Added plus removed lines of a diff."""
    return sum(line[:1] in ("+", "-") and line[:3] not in ("+++", "---") for line in diff.splitlines())


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _shown(row: Row) -> Shown:
    return Shown(
        id=row.id,
        authored_at=row.authored_at,
        message=row.message,
        instruction=row.instruction,
        instruction_by=row.instruction_by,
        licence=row.licence,
        stages="all stages learn from it" if row.change else row.no_change,
        score=row.score,
        diff=row.diff,
    )
