"""`forge status`: its options, and looking again and again. What reads the workspace is imported when the command is called."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live

from forge.errors import ConfigError, WorkspaceError

if TYPE_CHECKING:
    from jobs.status.view import Status

EVERY_S, LINE_EVERY_S = 1.5, 5.0
"""Seconds between two looks: on a terminal in place, and as lines where it is none."""
ROOMY = 36
"""Lines of a terminal from which the view need not spare them."""
RUNS = Path("workspace")


def status(
    workspace: Annotated[
        Path | None, typer.Argument(help="Folder of a run; the newest one under workspace/ when not given.", show_default=False)
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again, in place, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, once.")] = False,
    decisions: Annotated[bool, typer.Option("--decisions", help="Every step and every round's decisions with their evidence.")] = False,
) -> int:
    """Say what a run is trying, whether it gets better, what it has cost and what comes next, while it runs or afterwards.

    Nothing is written into the workspace and nobody is kept waiting.

    Examples:

        forge status

        forge status workspace/seed-1 --watch

        forge status workspace/quickstart --json
    """
    from jobs.status.facts import Lookout
    from jobs.status.screen import picture
    from jobs.status.view import status_of

    if watch and as_json:
        raise ConfigError("--watch shows a view in place and --json answers once; choose one of them")
    lookout = Lookout(workspace or newest_run())

    def look() -> Status:
        return status_of(lookout.look(time.time()))

    found = look()
    console = Console(highlight=False)
    if as_json:
        print(found.model_dump_json(indent=1))
    elif watch and console.is_terminal:
        _in_place(console, look, everything=decisions)
    elif watch:
        _as_lines(look)
    else:
        console.print(picture(found, console.width, everything=decisions))
    return 0


def newest_run(under: Path = RUNS) -> Path:
    """The run under `workspace/` whose ledger was written to last; raises `WorkspaceError` when there is none."""
    found = {
        file.parent: max(log.stat().st_mtime for log in (file, file.with_name("ledger.db-wal")) if log.exists())
        for file in under.glob("*/ledger.db")
    }
    if not found:
        raise WorkspaceError(f"there is no run under {under}/; start one with forge improve, or give the folder of one")
    return max(found, key=lambda folder: found[folder])


def _in_place(console: Console, look: Callable[[], Status], *, everything: bool) -> None:
    """The view on the terminal's other page until Ctrl-C; what was seen last stays behind."""
    from jobs.status.screen import picture

    last = look()
    try:
        with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                live.update(picture(last, console.width, everything=everything, dense=console.height < ROOMY), refresh=True)
                time.sleep(EVERY_S)
                last = look()
    except KeyboardInterrupt:
        console.print(picture(last, console.width, everything=everything))


def _as_lines(look: Callable[[], Status]) -> None:
    """One line whenever something has changed, until the run is over or Ctrl-C."""
    from jobs.status.screen import line

    before = ""
    try:
        while True:
            found = look()
            if (told := line(found)) != before:
                print(told, flush=True)
                before = told
            if found.state in ("finished", "stopped"):
                return
            time.sleep(LINE_EVERY_S)
    except KeyboardInterrupt:
        sys.stdout.flush()
