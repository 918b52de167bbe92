"""`forge align`: its options. What pulls in Ray is imported when the command is called, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="[CONFIG] [KEY=VALUE]...", help="Whose workspace and base; key=value sets any key.", show_default=False),
]
Data = Annotated[
    Path | None,
    typer.Option(help="Folder that forge mine wrote, whose functions are the seeds. [default: the workspace's]", show_default=False),
]
Model = Annotated[str | None, typer.Option(help="The base's name on the endpoint. [default: main]", show_default=False)]
Url = Annotated[
    str | None,
    typer.Option(
        help="The endpoint; its key, if it asks for one, is in $FORGE_API_KEY. [default: the workspace's own, started]", show_default=False
    ),
]
Seeds = Annotated[int | None, typer.Option(min=1, help="Functions that seed an instruction each. [default: 200]", show_default=False)]
Count = Annotated[int | None, typer.Option("--n", min=1, help="Answers to each instruction. [default: 10]", show_default=False)]
Address = Annotated[str | None, typer.Option(help="Dashboard of a running Ray, such as http://127.0.0.1:8265.")]


def align(
    arguments: Arguments = None,
    data: Data = None,
    model: Model = None,
    url: Url = None,
    seeds: Seeds = None,
    n: Count = None,
    address: Address = None,
) -> int:
    """Have the base make training rows for itself (SelfCodeAlign): concepts of mined functions, instructions, answers with tests.

    An answer is kept when its tests pass in a sandbox, and fail for code that does nothing. No teacher is asked. Nothing held out is a
    seed. The same command again goes on where the last one ended and asks nothing twice. Rows lie in the workspace's folder aligned;
    forge train --data takes them, and forge improve with rounds.aligned_share.

    Examples:

        forge align configs/rtx.yaml --data workspace/mined

        forge align --data workspace/mined --url http://127.0.0.1:8123 --model main --seeds 1000 workspace=workspace/rtx

        forge train generation --data workspace/rtx/aligned --config configs/rtx.yaml
    """
    from forge import config as configuration
    from jobs.align import check
    from jobs.cli import split
    from jobs.launching.launch import launch

    paths, given = split(arguments or [])
    options = {
        "align.data": str(data.expanduser().absolute()) if data else None,
        "align.model": model,
        "align.url": url,
        "align.seeds": seeds,
        "align.answers": n,
    }
    named = [f"{key}={configuration.as_value(value)}" for key, value in options.items() if value is not None]
    return launch("jobs.align", configuration.load(paths, [*named, *given]), address, check)
