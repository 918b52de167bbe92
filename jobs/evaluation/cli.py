"""`forge evaluate`: its options. What pulls in Ray is imported when the command is called, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="[CONFIG] [KEY=VALUE]...", help="Whose workspace, bases and agent; key=value sets any key.", show_default=False),
]
Suites = Annotated[
    list[str] | None,
    typer.Option(
        "--suite",
        help="heldout, swebench, humaneval, humanevalfix, mbpp, livecodebench, bigcodebench, bigcodebench-complete or crosscodeeval; "
        "may be repeated.",
        show_default=False,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="The suite's file, or a folder with one named as each suite; for heldout a workspace. [default: the hub]", show_default=False
    ),
]
Trees = Annotated[
    Path | None,
    typer.Option(help="swebench: folder with each instance's tree by its id, or clones named owner__name.", show_default=False),
]
Model = Annotated[
    str | None,
    typer.Option(help="main for the base, generation, generation@r2-…, or any model of an OpenAI-compatible endpoint.", show_default=False),
]
Url = Annotated[
    str | None,
    typer.Option(
        help="The endpoint; its key, if it asks for one, is in $FORGE_API_KEY. [default: the workspace's own, started]", show_default=False
    ),
]
Count = Annotated[int, typer.Option("--n", min=1, help="Answers to each problem.")]
Temperature = Annotated[float, typer.Option(min=0.0, max=2.0, help="Of sampling; with more than one answer above 0.")]
Limit = Annotated[int | None, typer.Option(min=1, help="The first so many problems only.", show_default=False)]
Out = Annotated[Path, typer.Option(help="Folder of samples and results.")]
Pull = Annotated[bool, typer.Option("--pull", help="swebench: fetch the images that are not here.")]
Address = Annotated[str | None, typer.Option(help="Dashboard of a running Ray, such as http://127.0.0.1:8265.")]


def evaluate(
    arguments: Arguments = None,
    suite: Suites = None,
    data: Data = None,
    trees: Trees = None,
    model: Model = None,
    url: Url = None,
    n: Count = 1,
    temperature: Temperature = 0.0,
    limit: Limit = None,
    out: Out = Path("workspace/evaluation"),
    pull: Pull = False,
    address: Address = None,
) -> int:
    """Evaluate a model on public coding suites, or the agent on held-out tasks and on SWE-bench.

    Answers run in sandboxes only. Every sample is on disk as soon as it is scored: the same command goes on where it ended.
    What infrastructure lost is masked and counted, never scored; a problem whose own solution fails here is left out and counted.

    Examples:

        forge evaluate --suite humaneval --suite mbpp --data ../suites --url http://127.0.0.1:8123 --model generation

        forge evaluate --suite livecodebench --data test6.jsonl --url https://host/v1 --model name --n 10 --temperature 0.2

        forge evaluate configs/quickstart.yaml --suite heldout

        forge evaluate configs/rtx.yaml --suite swebench --data verified.parquet --trees ../clones --limit 50
    """
    from forge import config as configuration
    from jobs.cli import split
    from jobs.evaluate import check
    from jobs.launching.launch import launch

    paths, given = split(arguments or [])
    options = {
        "evaluation.suites": suite,
        "evaluation.data": _absolute(data),
        "evaluation.trees": _absolute(trees),
        "evaluation.model": model,
        "evaluation.url": url,
        "evaluation.samples": n,
        "evaluation.temperature": temperature,
        "evaluation.limit": limit,
        "evaluation.out": _absolute(out),
        "evaluation.pull": pull or None,
    }
    named = [f"{key}={configuration.as_value(value)}" for key, value in options.items() if value is not None]
    return launch("jobs.evaluate", configuration.load(paths, [*named, *given]), address, check)


def _absolute(path: Path | None) -> str | None:
    """The path as it is from any folder: jobs run in others than the one where it was given."""
    return str(path.expanduser().absolute()) if path else None
