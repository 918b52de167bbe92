"""`forge train`: its options. What pulls in Ray is imported when the command is called, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Stages = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[STAGE]...", help="Stages to train, all that have rows when none is named; key=value sets any key.", show_default=False
    ),
]
Data = Annotated[
    Path,
    typer.Option(help="Folder that forge mine wrote, one of <stage>/*.parquet, or forge data export --to tagged-diff.", show_default=False),
]
Config = Annotated[list[Path] | None, typer.Option("--config", help="Configuration file, such as configs/rtx.yaml.", show_default=False)]
Out = Annotated[Path, typer.Option(help="Workspace that keeps the adapters.")]
Method = Annotated[Literal["sft", "dpo"], typer.Option(help="sft: examples; dpo: preferences, from <stage>/*.parquet.")]
Combined = Annotated[bool, typer.Option("--combined", help="One adapter over all stages, from the same rows.")]
Sweep = Annotated[int, typer.Option("--sweep", min=0, help="Settings to try for each stage first; the best ones are trained with.")]
Plan = Annotated[bool, typer.Option("--plan", help="Say what it would take, and end.")]
Card = Annotated[
    float | None, typer.Option("--vram", min=0.1, help="With --plan: GiB of the card, where it is another machine's.", show_default=False)
]
Address = Annotated[str | None, typer.Option(help="Dashboard of a running Ray, such as http://127.0.0.1:8265.")]


def train(
    data: Data,
    stages: Stages = None,
    config: Config = None,
    out: Out = Path("workspace/trained"),
    method: Method = "sft",
    combined: Combined = False,
    sweep: Sweep = 0,
    plan: Plan = False,
    vram: Card = None,
    address: Address = None,
) -> int:
    """Train an adapter a stage from rows, each from the frozen base; the same command again goes on where the last one ended.

    Examples:

        forge train --data workspace/mined --config configs/rtx.yaml --plan

        forge train planning generation --data workspace/mined --config configs/rtx.yaml

        forge train review --data workspace/mined --sweep 24

        forge train generation --data workspace/pairs --method dpo training.dpo.beta=0.05
    """
    from forge import config as configuration
    from jobs.launching.launch import launch

    words = stages or []
    options = {
        "training.data": str(data.expanduser().absolute()),
        "training.only": [word for word in words if "=" not in word],
        "training.method": method,
        "training.combined": combined,
        "training.sweep.trials": sweep,
        "workspace": str(out.expanduser().absolute()),
    }
    given = [word for word in words if "=" in word]
    resolved = configuration.load(config or [], [*given, *(f"{key}={configuration.as_value(value)}" for key, value in options.items())])
    if plan:
        from rich.console import Console

        from jobs.training.plan import show_plan

        show_plan(resolved, Console(highlight=False), None if vram is None else int(vram * 2**30))
        return 0
    from jobs.train import check

    return launch("jobs.train", resolved, address, check)
