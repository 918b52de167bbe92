"""The group `forge adapters` and the command `forge export`: which options they have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(help="Adapter versions of a run: list, compare, promote, go back, clear away.", no_args_is_help=True)

Workspace = Annotated[Path, typer.Option("--workspace", "-w", help="Folder of a run, such as workspace/quickstart.", show_default=False)]
Version = Annotated[str, typer.Argument(metavar="STAGE[@VERSION]", help="A version, or a stage for its promoted one.", show_default=False)]
Stage = Annotated[str | None, typer.Option(help="This stage alone.", show_default=False)]


@app.command("list")
def list_versions(workspace: Workspace, stage: Stage = None) -> int:
    """Print every version with its round, rank, rows and loss; promoted and damaged ones are marked."""
    from jobs.adapters.show import list_all

    list_all(workspace, stage, Console(highlight=False))
    return 0


@app.command("show")
def show_version(version: Version, workspace: Workspace) -> int:
    """Print all that is known of a version: base, data, code, parents, metrics, files, configuration."""
    from jobs.adapters.show import show

    show(workspace, version, Console(highlight=False))
    return 0


@app.command("history")
def show_history(workspace: Workspace) -> int:
    """Print what was promoted when, with the numbers that rollback --to takes."""
    from jobs.adapters.show import history

    history(workspace, Console(highlight=False))
    return 0


@app.command("diff")
def show_diff(
    version: Version, other: Annotated[str, typer.Argument(metavar="STAGE[@VERSION]", show_default=False)], workspace: Workspace
) -> int:
    """Print how two versions differ: data, rank, metrics, configuration, code, and by how much their weights do.

    Examples:

        forge adapters diff review@r1-3f9c review -w workspace/quickstart
    """
    from jobs.adapters.diff import show_difference

    show_difference(workspace, version, other, Console(highlight=False))
    return 0


@app.command("promote")
def promote_versions(
    versions: Annotated[list[str], typer.Argument(metavar="STAGE@VERSION...", help="Versions, at most one a stage.", show_default=False)],
    workspace: Workspace,
) -> int:
    """Make these the versions that are served, all at once; other stages keep theirs."""
    from jobs.adapters.change import promote

    promote(workspace, versions, Console(highlight=False))
    return 0


@app.command("rollback")
def roll_back(
    workspace: Workspace,
    stage: Stage = None,
    to: Annotated[int | None, typer.Option(help="The promotion of this number (forge adapters history).", show_default=False)] = None,
) -> int:
    """Go back to what was promoted before; again for one step further. Before the first there is the base alone."""
    from jobs.adapters.change import roll_back as go

    go(workspace, stage, to, Console(highlight=False))
    return 0


@app.command("gc")
def clear_away(
    workspace: Workspace,
    keep: Annotated[int, typer.Option(min=0, help="Newest versions of each stage that stay in any case.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, remove nothing.")] = False,
) -> int:
    """Remove versions that are not promoted, were not promoted last, and belong to no round's report."""
    from jobs.adapters.change import clear_away as clear

    clear(workspace, keep, dry_run, Console(highlight=False))
    return 0


def export(
    versions: Annotated[
        list[str],
        typer.Argument(metavar="STAGE[@VERSION]...", help="Versions, or stages for their promoted ones, or 'all'.", show_default=False),
    ],
    to: Annotated[str, typer.Option("--to", help="Format; a wrong name lists them all.", show_default=False)],
    workspace: Workspace,
    out: Annotated[Path, typer.Option("--out", help="Folder to write, which must not be there yet.", show_default=False)],
    quantise: Annotated[str, typer.Option(help="Weights of GGUF files: f16, q8_0 or q4_k_m.")] = "f16",
    base: Annotated[str | None, typer.Option(help="Where the base is now, if it was moved.", show_default=False)] = None,
) -> int:
    """Write adapters for other programs: peft, merged, gguf, gguf-adapter, ollama, llama-server, vllm, sglang, lorax, tgi.

    Examples:

        forge export generation --to ollama --quantise q4_k_m -w workspace/rtx --out export/ollama

        forge export all --to llama-server -w workspace/rtx --out export/llama-server
    """
    from jobs.adapters.export import export as write

    write(workspace, versions, to, out, quantise, base, Console(highlight=False))
    return 0
