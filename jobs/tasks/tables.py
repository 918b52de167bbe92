"""The tables that commands about tasks end with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table

from forge.records import Instance
from forge.tasks.public.verified import SetCounts
from sandboxes.history import History

MOST_SHOWN = 12


def imported(instances: Sequence[Instance], missing: Iterable[str] | None) -> Table:
    """A row for each set: instances, repositories, images, and how many of those are not here when that was asked."""
    lacking = None if missing is None else set(missing)
    table = _table("set", "instances", "repositories", "images", *([] if lacking is None else ["to pull"]))
    for name in sorted({instance.set for instance in instances}):
        of = [instance for instance in instances if instance.set == name]
        images = {instance.image for instance in of}
        cells = [name, len(of), len({instance.repo for instance in of}), len(images)]
        table.add_row(*map(str, [*cells, *([] if lacking is None else [len(images & lacking)])]))
    return table


def reasons(title: str, refused: Mapping[str, int]) -> Table:
    """A row for each reason, the most frequent first."""
    table = _table(title, "rows")
    for reason, number in Counter(refused).most_common():
        table.add_row(reason, str(number))
    return table


def verified(sets: Sequence[SetCounts]) -> Table:
    """A row for each set, and one for each reason that something of it was refused for."""
    table = _table("set", "tasks", "verified", "refused", "s a grade", "kind")
    for entry in sets:
        kind = "weaker" if entry.weak else "box"
        table.add_row(
            entry.set, str(entry.tasks), str(entry.verified), str(sum(entry.refused.values())), f"{entry.seconds:.2f}", kind, style="bold"
        )
        for reason, number in entry.refused.items():
            table.add_row(f"  {reason}", "", "", str(number), "", "")
    return table


def histories(found: Sequence[History]) -> Table:
    """How many images are proven to hold no history, and what the others hold."""
    table = _table("images", "number")
    for reason, number in Counter(history.reason for history in found if history.clean).most_common():
        table.add_row(f"proven: {reason}", str(number))
    unclean = [history for history in found if not history.clean]
    for history in unclean[:MOST_SHOWN]:
        table.add_row(f"{history.image}: {history.reason}", "1")
    if len(unclean) > MOST_SHOWN:
        table.add_row(f"and more like these: {unclean[MOST_SHOWN].image} …", str(len(unclean) - MOST_SHOWN))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right")
    return table
