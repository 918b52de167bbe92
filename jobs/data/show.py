"""`forge data show`: rows in the terminal, as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.rule import Rule
from rich.syntax import Syntax

from forge.errors import WorkspaceError
from forge.mining.row import Row
from forge.records import Example
from jobs.data.rows import examples_in, rows_of, sampled


def show(root: Path, console: Console, *, stage: str | None, count: int, seed: int, only: str, id_: str | None) -> int:
    """Print rows of a set and return how many there were; `only` must occur in what a row says."""
    if stage is not None:
        examples = sampled((one for one in examples_in(root, stage) if only in one.model_dump_json()), count, seed)
        for example in examples:
            _example(example, console)
        return len(examples)
    rows = sampled((row for row in rows_of(root) if _wanted(row, only, id_)), count, seed)
    if id_ is not None and not rows:
        raise WorkspaceError(f"{root} has no row {id_}; forge data show prints ids above the rows")
    for row in rows:
        _row(row, console)
    return len(rows)


def _wanted(row: Row, only: str, id_: str | None) -> bool:
    return (id_ is None or row.id == id_) and (not only or only in row.instruction or only in row.message or only in row.diff)


def _row(row: Row, console: Console) -> None:
    console.print(
        Rule(f"[bold]{escape(row.id)}[/]  {row.authored_at[:10]}  {escape(row.licence)}  {'held out' if row.heldout else ''}", align="left")
    )
    console.print(f"[bold]{escape(row.instruction) or '(nothing asked)'}[/]  [dim]by {row.instruction_by or 'nobody'}[/]")
    if row.message != row.instruction:
        console.print(f"[dim]message: {escape(row.message[:300])}[/]")
    for line in _notes(row):
        console.print(f"[dim]{escape(line)}[/]")
    console.print(Syntax(row.diff, "diff", theme="ansi_dark", word_wrap=False))


def _notes(row: Row) -> Iterator[str]:
    if row.functions:
        yield "functions: " + ", ".join(f"{function.kind} {function.path}::{function.name}" for function in row.functions[:8])
    yield "stages: all learn from it" if row.change else f"stages: none learns from it ({row.no_change})"
    if row.reasoning:
        yield f"why there: {row.reasoning.analysis}"
        yield f"why so: {row.reasoning.plan}"
    if row.score is not None:
        yield f"judge: {row.score:.2f} {row.judged}"
    if row.error:
        yield f"teacher: {row.error}"


def _example(example: Example, console: Console) -> None:
    where = f"{example.lineage.repo}@{(example.lineage.commit or example.lineage.task_id or '')[:12]}"
    console.print(Rule(f"[bold]{example.stage}[/]  {escape(where)}", align="left"))
    for message in example.messages:
        console.print(f"[dim]{message.role}[/]")
        console.print(message.content, markup=False, highlight=False)
    console.print("[dim]answer[/]")
    console.print(f"[green]{escape(example.completion)}[/]")
