"""Tasks from a repository's own commits, each proven in the environment of its time: `forge tasks derive`, or as a Ray job
`python -m jobs.tasks.derive REPO… workspace=PATH`."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import ray
from rich.console import Console
from rich.table import Table

from forge.config import ForgeConfig
from forge.errors import EnvironmentLackError, ForgeError
from forge.mining.history import open_history
from forge.observe import logs
from forge.observe.progress import Progress, to_stream
from forge.store.workspace import Workspace
from forge.tasks.on_ray import TaskCounts, TaskSet, build_tasks
from jobs.tasks.settings import settings
from jobs.wiring import EnvironmentFactory, ProviderFactory, sweep
from sandboxes.pick import pick


def main(argv: Sequence[str]) -> int:
    """Exit code of the job: 0, or that of a `ForgeError`, whose sentence goes to standard error."""
    logs.set_up("WARNING")
    try:
        run(*settings(argv))
    except ForgeError as error:
        print(f"forge: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def run(config: ForgeConfig, repos: Sequence[str]) -> TaskSet:
    """Derive the tasks of these folders on the Ray that this process belongs to, and print the table."""
    ray.init(logging_level="ERROR", log_to_driver=False, ignore_reinit_error=True)
    progress = Progress(to_stream(sys.stdout), every_s=float(os.environ.get("FORGE_PROGRESS_S", "5")))
    sandbox = pick(config.sandbox.kind)
    if sandbox.trusted_only:
        raise EnvironmentLackError(f"repositories need Docker or bubblewrap, and here is neither: {sandbox.why}; see forge doctor")
    provider = ProviderFactory(kind=sandbox.name)
    asyncio.run(sweep(provider))
    with Workspace.open(config.workspace_path) as workspace:
        progress.say(f"  workspace {workspace.root}\n  sandbox: {sandbox.name} ({sandbox.why})")
        with progress.phase("derive", "commits, each run before and after") as phase:

            def show(counts: TaskCounts) -> None:
                phase.total(counts.planned, unit="commits")
                phase.at(counts.tried, now=f"{sum(counts.found.values())} proven")

            found = build_tasks(
                {Path(repo).name: Path(repo) for repo in repos},
                workspace.tasks,
                workspace.trees,
                config.tasks,
                open_history=open_history,
                make_provider=provider,
                run_id=f"derive-{os.getpid()}",
                limits=config.sandbox.limits,
                seed=config.seed,
                workers=config.sandbox.workers,
                make_environments=EnvironmentFactory(),
                progress=show,
            )
            phase.result(f"{len(found.tasks)} tasks from {found.counts.tried} commits")
        show_table(found, workspace.tasks / "tasks.parquet")
    return found


def show_table(found: TaskSet, where: Path) -> None:
    """What was tried, proven and refused, and what it cost."""
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("commits", justify="right")
    table.add_row("tried", str(found.counts.tried))
    by_repo = Counter(task.repo for task in found.tasks)
    for repo, number in sorted(by_repo.items()):
        table.add_row(f"  proven: {repo}", str(number))
    for reason, number in sorted(found.counts.refused.items(), key=lambda entry: -entry[1]):
        table.add_row(f"  {reason}", str(number))
    console.print(table)
    share = len(found.tasks) / found.counts.tried if found.counts.tried else 0.0
    pythons = Counter(environment.spec.python for environment in found.environments)
    eras = ", ".join(f"{number} on Python {version}" for version, number in sorted(pythons.items()))
    seconds = statistics.median(found.seconds) if found.seconds else 0.0
    console.print(f"{share:.0%} of those tried are proven; {seconds:.1f} s each (median); environments: {eras or 'none'}")
    console.print(f"tasks: {where}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
