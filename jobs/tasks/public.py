"""`forge tasks import`, `export` and `verify`: their options, and what their help teaches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Set = Annotated[str | None, typer.Option("--set", help="Take every row for one of this set instead of telling it from its fields.")]
Split = Annotated[str, typer.Option(help="The split of a saved data set or of one on the hub; without it all, or its usual one.")]
Pull = Annotated[bool, typer.Option("--pull", help="Fetch the images that are not here yet.")]


def import_set(
    source: Annotated[
        str, typer.Argument(help="A .json, .jsonl or .parquet file, a folder, or with --hub a name such as SWE-Gym/SWE-Gym.")
    ],
    into: Annotated[Path, typer.Option(help="The workspace that takes them.")] = Path("workspace/public"),
    named: Set = None,
    split: Split = "",
    hub: Annotated[bool, typer.Option("--hub", help="SOURCE is a name on the Hugging Face hub.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Say which images the local engine lacks.")] = False,
    pull: Pull = False,
) -> int:
    """Take tasks of a public set into a workspace.

    Known are SWE-bench (up to 4, and 5), SWE-Gym, SWE-smith, R2E-Gym, SWE-rebench V2 and Harbor's task folders.
    A bad row is counted with its reason and left out.
    Importing again adds to what is there; rows with the same id are replaced.

    forge tasks import swe-gym/train.parquet --check

    forge tasks import SWE-bench/SWE-bench_Lite --hub --into workspace/lite
    """
    from jobs.tasks.importing import import_into

    return import_into(source, into, named, split, hub=hub, check=check or pull, pull=pull)


def export_tasks(
    source: Annotated[Path, typer.Argument(help="A workspace, a file of tasks or instances, or anything that import takes.")],
    output: Annotated[Path, typer.Argument(help="A .json, .jsonl or .parquet file; for harbor, and rows of Harbor's, a folder.")],
    to: Annotated[str, typer.Option(help="swe-bench (5), harbor, predictions, or rows: a public set in its own format.")] = "swe-bench",
    base: Annotated[
        str | None, typer.Option(help="The image that tasks' images start from. [default: python:3.X-slim, X as the task runs under]")
    ] = None,
    build: Annotated[bool, typer.Option("--build", help="Build the images with the local engine.")] = False,
    step: Annotated[str | None, typer.Option(help="predictions: of this step, such as evaluate-rft-1; without it the last one.")] = None,
    sample: Annotated[int, typer.Option(help="predictions: which rollout of each task.")] = 0,
    model: Annotated[str, typer.Option(help="predictions: the model's name in them.")] = "forge",
) -> int:
    """Give tasks out in a public format.

    forge's own tasks become instances of SWE-bench 5, which swebench's harness loads and grades, or Harbor's folders.
    Their images hold the work tree as one commit without history.
    The build contexts are written beside OUTPUT, and --build builds them.

    forge tasks export workspace/mine tasks.jsonl --build

    forge tasks export workspace/mine preds.jsonl --to predictions --step evaluate-rft-2
    """
    from jobs.tasks.exporting import export_to

    return export_to(source, output, to, base, build=build, step=step, sample=sample, model=model)


def verify_tasks(
    source: Annotated[Path, typer.Argument(help="A workspace, a file of tasks or instances, or anything that import takes.")],
    runs: Annotated[int, typer.Option(min=1, help="How often gold and doing nothing are graded, each.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="How many grades at once.")] = 2,
    timeout_s: Annotated[float, typer.Option(help="Seconds one grade of an instance may take.")] = 1800.0,
    memory_gb: Annotated[float, typer.Option(help="Memory of one grade of an instance.")] = 4.0,
    named: Set = None,
    split: Split = "",
    pull: Pull = False,
    build: Annotated[bool, typer.Option("--build", help="Build the images of Harbor's folders.")] = False,
) -> int:
    """Prove tasks: their own solution passes, doing nothing fails, and their images hold no history.

    forge's own tasks are graded in boxes.
    Instances of public sets are graded by their own script in a container of their image: the weaker kind, a patch could forge it.
    Ends with what was verified, what was refused and why, and which images hold more than one commit.
    The same command again goes on where it ended; the exit code is 0 when all is proven.

    forge tasks verify workspace/mine --runs 3

    forge tasks verify swe-gym/train.parquet --pull
    """
    from jobs.tasks.verifying import verify_source

    return verify_source(source, named, split, runs=runs, workers=workers, timeout_s=timeout_s, memory_gb=memory_gb, pull=pull, build=build)
