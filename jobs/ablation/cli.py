"""`forge ablate`: its options. What pulls in Ray is imported when the command is called, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Arguments = Annotated[list[str] | None, typer.Argument(metavar="[CONFIG] [KEY=VALUE]...", show_default=False)]
Given = Annotated[Path | None, typer.Option("--from", help="Workspace of a finished forge improve, whose rows are trained on.")]
Round = Annotated[int | None, typer.Option("--round", min=1, help="Which of its rounds, 1 being the cold start; else the last promoted.")]
Seeds = Annotated[int | None, typer.Option("--seeds", min=1, help="Times that each arm is trained.  [default: 3]", show_default=False)]
Match = Annotated[
    Literal["rank", "parameters"] | None,
    typer.Option("--match", help="parameters: one more adapter over all stages, as large as theirs together.", show_default=False),
]
Address = Annotated[str | None, typer.Option(help="Dashboard of a running Ray, such as http://127.0.0.1:8265.")]


def ablate(
    arguments: Arguments = None,
    given: Given = None,
    number: Round = None,
    seeds: Seeds = None,
    match: Match = None,
    address: Address = None,
) -> int:
    """Compare an adapter a stage, one adapter for all stages and the base alone, from the same rows on the same held-out tasks.

    Results lie in the workspace's folder `ablation`; the same command again goes on where the last one ended.

    Examples:

        forge ablate configs/quickstart.yaml

        forge ablate configs/quickstart.yaml --from workspace/quickstart --seeds 5

        forge ablate configs/quickstart.yaml --match parameters serve.max_rank=128
    """
    from forge import config as configuration
    from jobs.ablate import check
    from jobs.cli import split
    from jobs.launching.launch import launch

    paths, overrides = split(arguments or [])
    options: dict[str, object] = {"ablation.seeds": seeds, "ablation.match": match, "ablation.round": number}
    if given is not None:
        options |= {"workspace": str(given.expanduser().absolute()), "ablation.finished": True}
    named = [f"{key}={configuration.as_value(value)}" for key, value in options.items() if value is not None]
    return launch("jobs.ablate", configuration.load(paths, [*overrides, *named]), address, check)
