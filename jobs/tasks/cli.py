"""The group `forge tasks`: which commands it has."""

from __future__ import annotations

import typer

from jobs.tasks import public
from jobs.tasks.derive_cli import derive
from jobs.tasks.inject_cli import inject

app = typer.Typer(help="Tasks: made from commits and planted bugs, taken from public sets, verified, exported.", no_args_is_help=True)
app.command()(derive)
app.command()(inject)
app.command("import")(public.import_set)
app.command("export")(public.export_tasks)
app.command("verify")(public.verify_tasks)
