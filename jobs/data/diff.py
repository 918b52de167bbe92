"""`forge data diff`: what one set has that another has not, row by row."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.console import Console

from forge.records import Record
from jobs.data.rows import rows_of
from jobs.data.stats import read_card

NAMED = 10
"""Rows of each kind that are named."""
FIELDS = ("instruction", "message", "files", "functions", "licence", "change", "heldout", "score")


class Difference(Record):
    """Ids of rows by what became of them, and how often each field differs in those that changed."""

    gone: tuple[str, ...]
    new: tuple[str, ...]
    changed: tuple[str, ...]
    fields: dict[str, int]
    same: int


def compare(left: Path, right: Path) -> Difference:
    """How the second set differs from the first. Holds a hash a field and row of the first in memory, not its contents."""
    known = {row.id: _hashes(row) for row in rows_of(left)}
    new: list[str] = []
    changed: list[str] = []
    fields: Counter[str] = Counter()
    same = 0
    for row in rows_of(right):
        before = known.pop(row.id, None)
        if before is None:
            new.append(row.id)
            continue
        different = [name for name, old, now in zip(FIELDS, before, _hashes(row), strict=True) if old != now]
        fields.update(different)
        changed += [row.id] if different else []
        same += not different
    return Difference(gone=tuple(known), new=tuple(new), changed=tuple(changed), fields=dict(fields.most_common()), same=same)


def show_difference(left: Path, right: Path, console: Console) -> Difference:
    """Print how two sets differ: rows, and the counts of their cards."""
    found = compare(left, right)
    console.print(f"{found.same:,} rows are the same, {len(found.new):,} new, {len(found.gone):,} gone, {len(found.changed):,} changed")
    for title, ids in (("new", found.new), ("gone", found.gone), ("changed", found.changed)):
        for id_ in ids[:NAMED]:
            console.print(f"  {title:<8} {id_}", highlight=False)
        if len(ids) > NAMED:
            console.print(f"  {title:<8} … {len(ids) - NAMED:,} more", highlight=False)
    if found.fields:
        console.print("  fields that differ: " + ", ".join(f"{name} {number:,}" for name, number in found.fields.items()))
    before, after = read_card(left).counts.drops, read_card(right).counts.drops
    for reason in sorted(before.keys() | after.keys()):
        if before.get(reason, 0) != after.get(reason, 0):
            console.print(f"  dropped  {reason}: {before.get(reason, 0):,} → {after.get(reason, 0):,}", highlight=False)
    return found


def _hashes(row: Record) -> tuple[int, ...]:
    return tuple(hash(repr(getattr(row, name))) for name in FIELDS)
