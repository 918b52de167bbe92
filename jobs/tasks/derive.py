"""Tasks from a repository's own commits, each proven in the environment of its time: `forge tasks derive`, or as a Ray job
`python -m jobs.tasks.derive REPO… workspace=PATH`."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
from collections import Counter
from pathlib import Path

import ray
from rich.console import Console
from rich.table import Table

from forge.config import ForgeConfig
from forge.observe.progress import Progress, to_stream
from forge.store.workspace import Workspace
from forge.tasks.on_ray import TaskCounts, TaskSet, build_tasks
from jobs.launching.job import carry_out
from jobs.tasks.means import means_of
from jobs.tasks.telling import tell, waiting
from jobs.wiring import ProviderFactory, sweep
from sandboxes.environments import Shelf
from sandboxes.pick import pick


def run(config: ForgeConfig) -> TaskSet:
    """Derive tasks of `history.repos` on the Ray that this process belongs to, and print the table."""
    ray.init(logging_level="ERROR", log_to_driver=False, ignore_reinit_error=True)
    progress = Progress(to_stream(sys.stdout), every_s=float(os.environ.get("FORGE_PROGRESS_S", "5")))
    repos = {Path(path).name: Path(path) for path in config.history.repos}
    sandbox = pick(config.sandbox.kind)
    provider = ProviderFactory(kind=sandbox.name)
    with Workspace.open(config.workspace_path) as workspace:
        again = (workspace.tasks / "journal.jsonl").exists()
        progress.say(f"  workspace {workspace.root}{' (goes on from what is there)' if again else ''}")
        progress.say(f"  sandbox: {sandbox.name} ({sandbox.why})")
        asyncio.run(sweep(provider))
        with progress.phase("derive", f"commits of {', '.join(repos)}, each run before and after") as phase:

            def show(counts: TaskCounts) -> None:
                phase.total(counts.planned, unit="commits")
                phase.at(counts.tried, now=f"{sum(counts.found.values())} proven")

            found = build_tasks(repos, workspace.tasks, config.tasks, means_of(config, provider, workspace, "derive"), progress=show)
            phase.result(f"{len(found.tasks)} tasks from {found.counts.tried} commits")
        if waiting(config, found.tasks):
            with progress.phase("statements", f"issues by {config.teacher.model} where the commit's message says little") as phase:
                tell(config, workspace, found.tasks, repos, workspace.tasks / "tasks.parquet", phase)
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
    disk = sum(file.stat().st_size for file in where.parent.parent.rglob("*") if file.is_file() and not file.is_symlink())
    console.print(f"disk: {disk / 1e6:,.0f} MB here, {Shelf().bytes_used() / 1e6:,.0f} MB of environments on this machine")
    console.print(f"tasks: {where}")


if __name__ == "__main__":
    sys.exit(carry_out(sys.argv[1:], run))
