"""The phases before the rounds: practice repositories, proven tasks, mined rows.

Each may be called again and again: what is there already is taken, not made anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from forge.config import ForgeConfig, MiningConfig
from forge.errors import ForgeError
from forge.mining.counts import MiningCounts
from forge.mining.folder import MinedFolder
from forge.mining.history import open_history
from forge.mining.on_ray import MiningProgress, mine
from forge.observe.progress import PhaseProgress
from forge.records import EASIER, Easier, Example, RoundReport, Task
from forge.store.parquet import read_examples, write_records
from forge.tasks.on_ray import Means, TaskCounts, TaskSet, build_tasks, easier_tasks
from jobs.loop.context import RunContext
from jobs.tasks.telling import tell, waiting
from jobs.wiring import EnvironmentFactory, ProviderFactory, make_practice, teacher_of


def histories(run: RunContext) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Repositories by name, and the names of those that only measure transfer; practice ones are made here."""
    practice = run.config.history.practice
    names = [f"practice-{i + 1}" for i in range(practice.repositories)]
    transfer = tuple(f"transfer-{i + 1}" for i in range(practice.transfer_repositories if practice.repositories else 0))
    made = {name: _practice_root(run) / name for name in (*names, *transfer)}
    with run.phase("history", "practice repositories") as phase:
        phase.total(len(made), unit="repositories")
        for name, folder in made.items():
            if not (folder / ".git" / "forge-complete").exists():
                make_practice(practice, run.config.seed, name, folder)
            phase.advance(now=name)
        phase.result(f"{len(made)} practice repositories, {len(run.config.history.repos)} of yours")
    run.ledger.finish_phase("history")
    yours = [Path(path).expanduser().resolve() for path in run.config.history.repos]
    return {**made, **{path.name: path for path in yours}}, transfer


def tasks(run: RunContext, repos: Mapping[str, Path], transfer: Sequence[str], train: int) -> TaskSet:
    """Proven tasks on both sides of the split, `train` for training, and those of the transfer repositories.

    Asking for more training tasks later goes on in the same order: those that were there stay.
    """
    own = _practice_root(run)
    usable = _usable(run, repos)
    wanted = run.config.tasks.model_copy(update={"train": train})
    with run.phase("tasks", "tasks, each proven by gold and by doing nothing") as phase:
        phase.total(wanted.train + wanted.heldout + wanted.transfer, unit="tasks")

        def show(counts: TaskCounts) -> None:
            phase.at(sum(counts.found.values()), now=f"{counts.tried} tried")

        found = build_tasks(
            usable,
            run.workspace.tasks,
            wanted,
            _means(run, usable),
            transfer=transfer,
            plain=[name for name, path in repos.items() if path.is_relative_to(own)],
            progress=show,
        )
        sides = found.spread["side"]
        phase.result(", ".join(f"{sides.get(side, 0)} {side}" for side in ("train", "heldout", "transfer")))
    if waiting(run.config, found.tasks):
        with run.phase("statements", f"issues by {run.config.teacher.model} where nobody described the task") as phase:
            anew = tell(run.config, run.workspace, found.tasks, usable, run.workspace.tasks / "tasks.parquet", phase)
        found = found.model_copy(update={"tasks": tuple(anew)})
        run.ledger.finish_phase("statements")
    run.ledger.finish_phase("tasks", {"counts": found.counts.model_dump(mode="json"), "spread": found.spread})
    if not sides.get("train") or not sides.get("heldout"):
        raise ForgeError(f"tasks on both sides are needed, but {sides or 'none'} were proven; see the refusals: {found.counts.refused}")
    return found


def easier(
    run: RunContext, repos: Mapping[str, Path], transfer: Sequence[str], batches: Sequence[Easier], known: Collection[Task]
) -> tuple[Task, ...]:
    """The easier training tasks of all batches, in order, without bugs that `known` tasks or an earlier batch have already."""
    own, usable = _practice_root(run), _usable(run, repos)
    seen = {f"{EASIER}{task.id}" for task in known}
    found: list[Task] = []
    for batch in batches:
        name = f"{EASIER}{batch.round - 1}"
        with run.phase(f"tasks-{name}", f"easier tasks, {batch.count} at most") as phase:
            phase.total(batch.count, unit="tasks")

            def show(counts: TaskCounts, phase: PhaseProgress = phase) -> None:
                phase.at(sum(counts.found.values()), now=f"{counts.tried} tried")

            made = easier_tasks(
                usable,
                run.workspace.tasks / name,
                run.config.tasks,
                batch,
                _means(run, usable),
                transfer=transfer,
                plain=[name for name, path in repos.items() if path.is_relative_to(own)],
                progress=show,
            )
            new = [task for task in made if task.id not in seen]
            phase.result(f"{len(new)} tasks, {len(made) - len(new)} that were there already")
        run.ledger.finish_phase(f"tasks-{name}", {"tasks": len(new)})
        found += new
        seen |= {task.id for task in new}
    write_records(run.workspace.tasks / "easier.parquet", found, Task)
    return tuple(found)


def mined(run: RunContext, repos: Mapping[str, Path], taskset: TaskSet) -> MiningCounts:
    """Cold-start rows of every stage in the workspace, from commits that touch no held-out file."""
    with run.phase("mining", "commits to training rows") as phase:

        def show(progress: MiningProgress) -> None:
            phase.now(f"{progress.counts.commits} commits read, {progress.counts.teaching} teach")

        counts = mine(
            {name: str(path) for name, path in repos.items()},
            MinedFolder(run.workspace.root / "mined", examples=run.workspace.root / "examples"),
            own(run.config.mining),
            make_teacher=teacher_of(run.config, run.workspace),
            teacher=run.config.teacher.model or "",
            heldout=taskset.heldout_files,
            style=run.config.agent.prompt_style,
            progress=show,
        )
        phase.result(f"{counts.teaching} of {counts.commits} commits teach, {sum(counts.examples.values())} rows")
    run.ledger.finish_phase("mining", counts.model_dump(mode="json"))
    return counts


def mined_rows(run: RunContext, stage: str) -> list[Example]:
    """The cold start's rows of a stage that lie in the workspace."""
    files = sorted(run.workspace.examples(stage).glob("mined-*.parquet"))
    return [row for file in files for row in read_examples(file)]


def wanted(config: ForgeConfig, rounds: Sequence[RoundReport]) -> int:
    """Training tasks that a run has come to need: an earlier start may have taken on more than the configuration names."""
    return max([config.tasks.train, *(report.plan.tasks for report in rounds if report.plan is not None)])


def own(config: MiningConfig) -> MiningConfig:
    """The same, but for the licence: what learns from a repository here stays with whoever has the repository."""
    return config.model_copy(update={"licences": config.licences.model_copy(update={"allow": ("*",), "unknown": "keep"})})


def _usable(run: RunContext, repos: Mapping[str, Path]) -> dict[str, Path]:
    """The repositories whose code may run in the sandbox that was picked."""
    own = _practice_root(run)
    return {name: path for name, path in repos.items() if not run.sandbox.trusted_only or path.is_relative_to(own)}


def _means(run: RunContext, usable: Mapping[str, Path]) -> Means:
    own = _practice_root(run)
    return Means(
        open_history=open_history,
        make_provider=ProviderFactory(kind=run.sandbox.name),
        trees=run.workspace.trees,
        run_id=run.run_id,
        limits=run.config.sandbox.limits,
        seed=run.config.seed,
        workers=run.config.sandbox.workers,
        make_environments=EnvironmentFactory() if any(not path.is_relative_to(own) for path in usable.values()) else None,
    )


def _practice_root(run: RunContext) -> Path:
    return run.workspace.root / "repositories"
