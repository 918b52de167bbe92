"""The commands of `forge tasks`."""

from __future__ import annotations

import typer

from jobs.tasks.derive_cli import derive
from jobs.tasks.inject_cli import inject

app = typer.Typer(help="Make executable tasks, each proven by running its tests.", no_args_is_help=True)
app.command()(derive)
app.command()(inject)
