"""The group `forge data`: which commands it has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(help="Mined sets: read, count, compare, export.", no_args_is_help=True)

Set = Annotated[Path, typer.Argument(metavar="SET", help="Folder that forge mine wrote.", show_default=False)]


@app.command("show")
def show_rows(
    mined: Set,
    stage: Annotated[str | None, typer.Option(help="Show rows of this stage in place of commits.")] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Rows to show, drawn at random.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    only: Annotated[str, typer.Option(help="Only rows in which this text occurs.")] = "",
    id_: Annotated[str | None, typer.Option("--id", help="The row with this id.")] = None,
) -> int:
    """Print rows as a person reads them.

    Examples:

        forge data show workspace/mined -n 20

        forge data show workspace/mined --stage planning --only "def "
    """
    from jobs.data.show import show

    show(mined, Console(highlight=False), stage=stage, count=count, seed=seed, only=only, id_=id_)
    return 0


@app.command("stats")
def show_stats(mined: Set) -> int:
    """Print what a set holds, what was left out and why. The same as a page: data.html in its folder."""
    from jobs.data.stats import stats

    stats(mined, Console(highlight=False))
    return 0


@app.command("diff")
def show_diff(
    mined: Set, other: Annotated[Path, typer.Argument(metavar="OTHER", help="The set to compare it with.", show_default=False)]
) -> int:
    """Print which rows another set has more, fewer or otherwise, and which filters count differently."""
    from jobs.data.diff import show_difference

    show_difference(mined, other, Console(highlight=False))
    return 0


To = Annotated[str, typer.Option("--to", help="Format; a wrong name lists them all.", show_default=False)]
Folder = Annotated[Path, typer.Option("--out", help="Folder to write, which must not be there yet.", show_default=False)]


@app.command("export")
def export_set(
    mined: Set, to: To, out: Folder, stage: Annotated[str | None, typer.Option(help="The rows of this stage in place of commits.")] = None
) -> int:
    """Write a set in a format that trainers and libraries read: alpaca, messages, trl, llama-factory, axolotl, diffs and more.

    Held-out rows go to files of their own; manifest.json counts what each file has and what was left out.

    Examples:

        forge data export workspace/mined --to llama-factory --out export/llama-factory

        forge data export workspace/mined --to prompt-completion --stage generation --out export/generation
    """
    from jobs.data.export import export, format_named

    export(mined, format_named(to), out, stage, Console(highlight=False))
    return 0


@app.command("mix")
def mix_sets(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="YAML: total, seed, sources.", show_default=False)], to: To, out: Folder
) -> int:
    """Mix public instruction sets in the shares of a recipe, the best or any of each, and write them in a format.

    A recipe names the sources, files that are here or sets of the hub:

        total: 20000

        sources: {opencodeinstruct: {weight: 3, least_quality: 0.8}, mine: {path: mine.jsonl, set: commitpackft}}
    """
    from jobs.data.export import export_mixture, format_named

    export_mixture(recipe, format_named(to), out, Console(highlight=False))
    return 0
