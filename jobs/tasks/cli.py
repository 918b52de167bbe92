"""The group `forge tasks`: which commands it has."""

from __future__ import annotations

import typer

from jobs.tasks import public

app = typer.Typer(help="Tasks: imported from public sets, exported to them, verified.", no_args_is_help=True)
app.command("import")(public.import_set)
app.command("export")(public.export_tasks)
app.command("verify")(public.verify_tasks)
