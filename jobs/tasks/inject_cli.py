"""`forge tasks inject`: its options, and what must hold before the job starts.

What pulls in Ray is imported when the command is called, so that `--help` answers at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from forge.errors import ConfigError
from jobs.tasks.defaults import REAL_REPOSITORIES

Repos = Annotated[
    list[str],
    typer.Argument(
        metavar="REPO", help="Git repositories with pytest tests; key=value sets any key of the configuration.", show_default=False
    ),
]
Out = Annotated[Path, typer.Option(help="Workspace to write; tasks/injected.parquet and trees/ in it.")]
Count = Annotated[int | None, typer.Option(help="Tasks wanted over all repositories [200].", show_default=False)]
Bugs = Annotated[str | None, typer.Option(metavar="N or N..M", help="Bugs in each task [1].", show_default=False)]
Distance = Annotated[
    str | None, typer.Option(help="function, module, repository, or mixed: how far apart several bugs lie.", show_default=False)
]
Failing = Annotated[
    str | None, typer.Option(metavar="LOW..HIGH", help="Share of a module's tests that may fail [0..0.5].", show_default=False)
]
Seed = Annotated[int, typer.Option(help="Another seed plants other bugs.")]
Address = Annotated[str | None, typer.Option(help="Dashboard of a running Ray, such as http://127.0.0.1:8265.")]


def inject(
    repos: Repos,
    out: Out = Path("workspace/injected"),
    count: Count = None,
    bugs: Bugs = None,
    distance: Distance = None,
    failing: Failing = None,
    seed: Seed = 0,
    address: Address = None,
) -> int:
    """Plant bugs into the head of each REPO and keep those that its tests notice, as tasks with a report of what fails.

    Repositories, modules, functions and kinds of bugs take turns before any gets a second one; the table at the end says how even
    that was and why bugs were refused. The same command again goes on where the last one ended; a higher --count adds to it.

    Examples:

        forge tasks inject ../boltons ../toolz --count 100

        forge tasks inject ../boltons --bugs 1..3 --distance module --failing 0..0.1    # hard: several bugs, few tests fail

        forge tasks inject ../boltons sandbox.workers=8 inject.per_function=10          # any key that forge config shows
    """
    from jobs.launching.launch import launch, resolved

    ranges = [*_range("bugs", bugs, ("min_bugs", "max_bugs")), *_range("failing", failing, ("min_failing", "max_failing"))]
    options = {"count": count, "distance": distance, **dict(ranges)}
    keys = {"seed": seed, **{f"inject.{key}": value for key, value in options.items()}}
    return launch("jobs.tasks.inject", resolved(repos, out, REAL_REPOSITORIES, keys), address)


def _range(option: str, text: str | None, keys: tuple[str, str]) -> Iterator[tuple[str, float]]:
    """Both ends of `LOW..HIGH`; a lone number is both, for shares the upper one."""
    if text is None:
        return
    low, dots, high = text.partition("..")
    ends = (low, high) if dots else ("0" if option == "failing" else low, low)
    for key, end in zip(keys, ends, strict=True):
        try:
            yield key, float(end) if option == "failing" else int(end)
        except ValueError as error:
            raise ConfigError(f"--{option} {text} is no range; write a number or LOW..HIGH, such as --bugs 1..3") from error
