"""`forge data stats`: a set's data card in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from forge.errors import WorkspaceError
from forge.mining.card import DataCard, Spread
from forge.mining.folder import MinedFolder

LINES = 12
"""Lines of a table at most; the rest is one line."""
BARS = " ▁▂▃▄▅▆▇█"


def read_card(root: Path) -> DataCard:
    """The card of a set. Raises `WorkspaceError` when there is none or it is from another version."""
    path = MinedFolder(root).card_json
    try:
        return DataCard.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkspaceError(f"{root} has no data card; give the folder that forge mine wrote (--out), and let it finish") from error
    except ValidationError as error:
        raise WorkspaceError(f"{path} is no data card of this version of forge; run forge mine again") from error


def stats(root: Path, console: Console) -> None:
    """Print the card of a set."""
    card = read_card(root)
    counts = card.counts
    console.print(f"[bold]{card.name}[/]  {card.made[:16].replace('T', ' ')}")
    console.print(f"{counts.survivors:,} rows of {counts.commits:,} commits ({counts.survivors / max(1, counts.commits):.1%})")
    console.print(f"{counts.teaching:,} teach the stages, {counts.heldout:,} held out")
    _table(console, "dropped", counts.drops, counts.commits)
    _table(console, "no stage learns from", counts.silent, counts.survivors)
    _table(console, "stage rows", counts.examples, sum(counts.examples.values()))
    _table(console, "repositories", card.repositories, counts.survivors)
    _table(console, "languages", card.languages, counts.survivors)
    _table(console, "licences", card.licences, counts.survivors)
    _table(console, "asked for by", card.told_by, counts.survivors)
    for spread in [*card.lengths, *([card.scores] if card.scores else [])]:
        console.print(f"{spread.name:<32} {sparkline(spread)}  median {spread.median:g}, 90 % between {spread.low:g} and {spread.high:g}")
    for place, reason in counts.failures.items():
        console.print(f"[red]failed[/] {place}: {reason}", highlight=False)


def sparkline(spread: Spread) -> str:
    """A histogram in one line."""
    most = max(spread.counts) or 1
    heights = ((len(BARS) - 1) * count // most for count in spread.counts)
    return "".join(BARS[max(height, 1 if count else 0)] for height, count in zip(heights, spread.counts, strict=True))


def _table(console: Console, title: str, counts: Mapping[str, int], total: int) -> None:
    if not counts:
        return
    table = Table(box=None, pad_edge=False, show_header=False, title=title, title_justify="left", title_style="bold")
    ordered = sorted(counts.items(), key=lambda entry: -entry[1])
    shown, rest = ordered[:LINES], ordered[LINES:]
    for name, number in [*shown, *([(f"{len(rest)} more", sum(n for _, n in rest))] if rest else [])]:
        table.add_row(f"  {name or 'nobody'}", f"{number:,}", f"{number / max(1, total):.1%}")
    table.columns[1].justify = table.columns[2].justify = "right"
    console.print(table)
