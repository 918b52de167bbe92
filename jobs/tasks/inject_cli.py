"""`forge tasks inject`: its options, and what must hold before the job starts.

What pulls in Ray is imported when the command is called, so that `--help` answers at once.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from forge import config as configuration
from forge.config import ForgeConfig
from forge.errors import ConfigError
from forge.observe import logs
from forge.observe.screen import Screen

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
    from jobs import preflight
    from jobs.local_ray import private_ray, sweep
    from jobs.submit import overrides_of, run_job

    logs.set_up("WARNING")
    ranges = [*_range("bugs", bugs, ("min_bugs", "max_bugs")), *_range("failing", failing, ("min_failing", "max_failing"))]
    given = {"count": count, "distance": distance, **dict(ranges)}
    config = resolved(repos, out, {key: value for key, value in given.items() if value is not None}, seed)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sweep()
    preflight.check_tasks(config, local_ray=address is None)
    carried = overrides_of(config.model_dump(mode="json", exclude_defaults=True) | {"workspace": str(config.workspace_path)})
    console = Console(highlight=False)
    environment = {"FORGE_PROGRESS_S": "0.5" if console.is_terminal else "5"}
    with Screen(console) as screen:
        if address is not None:
            return run_job(address, carried, screen.line, module=JOB, environment=environment, upload=preflight.checkout())
        screen.line("  … starting a private Ray")
        with private_ray(config.ray) as local:
            return run_job(local.address, carried, screen.line, module=JOB, environment=environment, headers=local.headers)


JOB = "jobs.tasks.inject"


def resolved(arguments: Sequence[str], out: Path, inject: dict[str, Any], seed: int) -> ForgeConfig:
    """The configuration of a command line: repositories and `key=value` strings in any order; options win."""
    repos = [argument for argument in arguments if "=" not in argument]
    overrides = [argument for argument in arguments if "=" in argument]
    if not repos:
        raise ConfigError("no repository is given; name at least one folder, such as forge tasks inject ../mine")
    named = {
        "history.repos": [str(Path(repo).expanduser().absolute()) for repo in repos],
        "history.practice.repositories": 0,
        "tasks.transfer": 0,
        "workspace": str(out.expanduser().absolute()),
        "seed": seed,
        **{f"inject.{key}": value for key, value in inject.items()},
    }
    return configuration.load([], [*overrides, *(f"{key}={configuration.as_value(value)}" for key, value in named.items())])


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
