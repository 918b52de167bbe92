"""The `forge tasks` commands. What they run is a Ray job beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Proven tasks from commits, from planted bugs, and from public sets.", no_args_is_help=True)


@app.command()
def derive(
    repos: Annotated[list[str], typer.Argument(metavar="REPO... [KEY=VALUE]...", help="Folders of git repositories, and config keys.")],
    out: Annotated[Path, typer.Option(help="Workspace for tasks, trees and the journal; an interrupted run goes on from it.")] = Path(
        "workspace/tasks"
    ),
    newest: Annotated[
        int | None, typer.Option(min=1, help="Try at most this many candidate commits of each repository, newest first.")
    ] = None,
    heldout: Annotated[float, typer.Option(min=0.0, max=0.99, help="Share of the files whose tasks are held out, by hash.")] = 0.0,
    address: Annotated[str | None, typer.Option(help="Dashboard of a running Ray, such as http://127.0.0.1:8265.")] = None,
) -> int:
    """Turn commits that change source and tests into tasks, each proven: tests fail before the commit and pass after it.

    A commit runs under a Python and packages of its own time, which are built once for each era of a repository.
    Example: forge tasks derive ../boltons --newest 60
    """
    from jobs.tasks.launch import launch

    keys = [f"tasks.heldout_fraction={heldout}", "tasks.inject=false", *([f"tasks.newest={newest}"] if newest else [])]
    paths = [str(Path(word).expanduser().resolve()) for word in repos if "=" not in word]
    return launch("jobs.tasks.derive", [*paths, *keys, *(word for word in repos if "=" in word), f"workspace={out.resolve()}"], address)
