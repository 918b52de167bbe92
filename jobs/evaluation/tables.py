"""The table that `forge evaluate` ends with."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from forge.evals.suites.scores import SuiteResult


def results(found: Sequence[SuiteResult]) -> Table:
    """A row for each measure of each suite, and one for everything that is in none."""
    table = Table(box=None, pad_edge=False)
    table.add_column("suite", overflow="fold")
    for name in ("measure", "value", "95 % interval", "problems", "samples"):
        table.add_column(name, justify="right")
    for result in found:
        if not result.measures:
            table.add_row(result.suite, "nothing scored", "", "", "0", "0", style="bold")
        for name, measure in result.measures.items():
            interval = f"{measure.ci95.low:.1%} to {measure.ci95.high:.1%}"
            cells = [result.suite, name, f"{measure.value:.1%}", interval, str(measure.problems), str(result.samples)]
            table.add_row(*cells, style="bold" if name == next(iter(result.measures)) else "")
        for what, reasons in (("left out", result.unproven), ("masked", result.masked)):
            for reason, number in reasons.items():
                table.add_row(
                    f"  {what}: {reason}", "", "", "", "" if what == "masked" else str(number), str(number) if what == "masked" else ""
                )
        for count, what in ((result.cut, "ran into the limit of tokens"), (result.empty, "without an answer in it")):
            if count:
                table.add_row(f"  scored, {what}", "", "", "", "", str(count))
        for note in result.notes:
            table.add_row(f"  {note}")
    return table
