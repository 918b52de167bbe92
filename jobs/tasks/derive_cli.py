"""`forge tasks derive`: its options. What pulls in Ray is imported when the command is called, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.tasks.defaults import REAL_REPOSITORIES

Repos = Annotated[
    list[str],
    typer.Argument(
        metavar="REPO", help="Git repositories with pytest tests; key=value sets any key of the configuration.", show_default=False
    ),
]
Out = Annotated[Path, typer.Option(help="Workspace to write; tasks/tasks.parquet and trees/ in it.")]
Newest = Annotated[
    int | None, typer.Option(min=1, help="Newest candidate commits of each repository, all when not given.", show_default=False)
]
Heldout = Annotated[float, typer.Option(min=0.0, max=0.99, help="Share of the files whose tasks are held out, by hash.")]
Address = Annotated[str | None, typer.Option(help="Dashboard of a running Ray, such as http://127.0.0.1:8265.")]


def derive(
    repos: Repos, out: Out = Path("workspace/derived"), newest: Newest = None, heldout: Heldout = 0.0, address: Address = None
) -> int:
    """Turn commits that change source and tests into tasks, each proven: tests fail before the commit and pass after it.

    A commit runs under a Python and packages of its own time; they are built once for each era of a repository, by uv, from wheels.
    The same command again goes on where the last one ended; the table at the end says why commits were refused.

    Examples:

        forge tasks derive ../boltons ../toolz --newest 60

        forge tasks derive ../boltons sandbox.workers=8 tasks.proof_runs=3    # any key that forge config shows
    """
    from jobs.launching.launch import launch, resolved

    keys = {"tasks.heldout_fraction": heldout, "tasks.newest": newest, "tasks.inject": "false"}
    return launch("jobs.tasks.derive", resolved(repos, out, REAL_REPOSITORIES, keys), address)
