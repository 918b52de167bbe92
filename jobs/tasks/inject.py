"""Planted bugs as a Ray job: `python -m jobs.tasks.inject history.repos=[PATH] [key=value …]`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from pathlib import Path

import ray

from forge.config import ForgeConfig
from forge.errors import HistoryError
from forge.observe.progress import Progress, clock, to_stream
from forge.store.workspace import Workspace
from forge.tasks.on_ray import ALL, Injected, TaskCounts, inject_tasks
from jobs.launching.job import carry_out
from jobs.tasks.means import means_of
from jobs.tasks.telling import tell, waiting
from jobs.wiring import ProviderFactory, sweep
from sandboxes.pick import pick


def run(config: ForgeConfig) -> Injected:
    """Plant bugs on the Ray that this process belongs to, and show how it went."""
    ray.init(logging_level="ERROR", log_to_driver=False, ignore_reinit_error=True)
    progress = Progress(to_stream(sys.stdout), every_s=float(os.environ.get("FORGE_PROGRESS_S", "5")))
    repos = {Path(path).name: Path(path) for path in config.history.repos}
    sandbox = pick(config.sandbox.kind)
    provider = ProviderFactory(kind=sandbox.name)
    with Workspace.open(config.workspace_path) as workspace:
        again = (workspace.tasks / "injected.jsonl").exists()
        progress.say(f"  workspace {workspace.root}{' (goes on from what is there)' if again else ''}")
        progress.say(f"  sandbox: {sandbox.name} ({sandbox.why})")
        asyncio.run(sweep(provider))
        began, before = time.monotonic(), _Start()
        with progress.phase("inject", f"planted bugs, each noticed by the tests of {', '.join(repos)}") as phase:
            phase.total(config.inject.count, unit="tasks")

            def show(counts: TaskCounts) -> None:
                before.note(counts)
                phase.at(counts.found[ALL], now=f"{sum(counts.operators.values())} bugs tried")

            means = means_of(config, provider, workspace, "inject")
            found = inject_tasks(repos, workspace.tasks, config.tasks, config.inject, means, progress=show)
            phase.result(f"{len(found.tasks)} tasks of {sum(found.counts.operators.values())} bugs tried")
        if waiting(config, found.tasks):
            with progress.phase("statements", f"issues by {config.teacher.model}") as phase:
                tell(config, workspace, found.tasks, repos, workspace.tasks / "injected.parquet", phase)
        if not found.tasks:
            raise HistoryError(f"no planted bug became a task; refused: {_counted(found.counts.refused) or 'nothing was tried'}")
        progress.say(table(found, new=len(found.tasks) - before.tasks, seconds=time.monotonic() - began))
        progress.say(f"  tasks: {workspace.tasks / 'injected.parquet'}")
    return found


class _Start:
    """Remembers how many tasks earlier runs had found."""

    tasks = -1

    def note(self, counts: TaskCounts) -> None:
        if self.tasks < 0:
            self.tasks = counts.found[ALL]


def table(found: Injected, *, new: int, seconds: float) -> str:
    """The answer of a run as a few lines of text."""
    tried, noticed = sum(found.counts.operators.values()), sum(found.counts.noticed.values())
    pace = f"; {seconds / new:.2f} s each of the {new} new ones ({clock(seconds)} in all)" if new else ""
    lines = ["", f"  {len(found.tasks)} tasks; the tests noticed {noticed} of {tried} bugs tried ({noticed / max(1, tried):.0%}){pace}"]
    if len(found.tasks) < found.counts.wanted[ALL]:
        lines.append(f"  {found.counts.wanted[ALL]} were wanted: all {found.planned} places planned are used up; raise inject.per_function")
    lines += ["", f"  {'spread over':<16}{'different':>10}{'offered':>9}{'evenness':>10}   (1: none twice before all once)"]
    lines += [f"  {name:<16}{level.different:>10}{level.offered:>9}{level.evenness:>10.2f}" for name, level in found.levels.items()]
    sides = Counter(str(task.side) for task in found.tasks)
    lines += ["", f"  sides: {_counted(sides)}", "  refused:"]
    lines += [f"  {number:>7}  {reason.removeprefix('inject: ')}" for reason, number in Counter(found.counts.refused).most_common()]
    lines += [f"  {number:>7}  no box: {reason}" for reason, number in found.counts.lost.items()]
    return "\n".join([*lines, ""])


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items())


if __name__ == "__main__":
    sys.exit(carry_out(sys.argv[1:], run))
