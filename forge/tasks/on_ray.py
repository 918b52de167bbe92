"""Deriving, injecting and proving on Ray actors, resumable, until the targets are met.

The driver hands out units in the plan's order, keeps a journal, and takes the first tasks in that order: which
tasks a run ends with does not depend on which worker was faster.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray

from forge.config import TasksConfig
from forge.errors import HistoryError
from forge.observe.on_ray import actor_name
from forge.records import Limits, Record, Side, Task
from forge.seams import History, SandboxProvider
from forge.store.parquet import write_records
from forge.store.trees import TreeStore
from forge.tasks.attempt import Attempts, OpenHistory, Place
from forge.tasks.journal import Journal, Tried
from forge.tasks.plan import Plan, Unit, plan
from forge.tasks.prove import Prover

SIDES: tuple[Side, ...] = ("train", "heldout", "transfer")
logger = logging.getLogger(__name__)


class TaskCounts(Record):
    """How far it is: tasks found and wanted by side, units tried, everything refused by reason."""

    found: dict[str, int]
    wanted: dict[str, int]
    tried: int = 0
    refused: dict[str, int] = {}
    flaky_ids: int = 0
    lost: dict[str, int] = {}
    """Units whose boxes kept failing, by the sandbox's sentence; they are tried again by the next run."""


class TaskSet(Record):
    """Proven tasks in the plan's order, the files that training must not see, and how it went."""

    tasks: tuple[Task, ...]
    heldout_files: tuple[tuple[str, str], ...]
    """(repository, path) of every file on the held-out side, with or without a task."""
    counts: TaskCounts
    spread: dict[str, dict[str, int]]
    """Tasks by side, origin, repository, operator, and how many different modules they touch."""


def build_tasks(
    repos: Mapping[str, Path],
    output: Path,
    trees: Path,
    config: TasksConfig,
    *,
    open_history: OpenHistory,
    make_provider: Callable[[], SandboxProvider],
    run_id: str,
    transfer: Collection[str] = (),
    limits: Limits | None = None,
    seed: int = 0,
    workers: int = 2,
    concurrency: int = 4,
    progress: Callable[[TaskCounts], None] | None = None,
) -> TaskSet:
    """Write `output/tasks.parquet` and return the proven tasks; what an earlier run tried is read from `output/journal.jsonl`.

    `repos` are name → folder, those in `transfer` give transfer tasks only. A repository that cannot be read is counted;
    only when none can it raises `HistoryError`. Whoever calls must not pass strange code to a `trusted_only` provider.
    Fewer tasks than wanted is a result: look at `counts`. Needs a running Ray whose workers see all these folders.
    """
    planned, places = _plan(repos, open_history, config, transfer, seed)
    journal = Journal(output / "journal.jsonl", _fingerprint(places, config, transfer, seed), Tried)
    state = _State(planned, config, journal, progress)
    arguments = (places, open_history, make_provider, str(trees), config, limits or Limits(), seed, run_id)
    actors: list[Any] = []
    try:
        state.report()
        for unit in state.unfinished(workers * concurrency):
            if len(actors) < workers:
                actors.append(_actor(len(actors), concurrency).remote(len(actors), *arguments))
            state.submit(unit, actors)
        state.drain()
    finally:
        journal.close()
        _end(actors)
    tasks = state.chosen()
    write_records(output / "tasks.parquet", tasks, Task)
    return TaskSet(tasks=tuple(tasks), heldout_files=planned.heldout_files, counts=state.counts(), spread=spread_of(tasks))


def heldout_files(
    repos: Mapping[str, Path], config: TasksConfig, *, open_history: OpenHistory, transfer: Collection[str] = (), seed: int = 0
) -> tuple[tuple[str, str], ...]:
    """What `build_tasks` will call `heldout_files`, without running anything: mining may start before tasks are proven."""
    return _plan(repos, open_history, config, transfer, seed)[0].heldout_files


def spread_of(tasks: Collection[Task]) -> dict[str, dict[str, int]]:
    """How tasks spread over sides, origins, repositories, operators; and the number of different modules."""
    modules = {(task.repo, edit.path) for task in tasks for edit in task.gold}
    return {
        "side": dict(Counter(str(task.side) for task in tasks)),
        "origin": dict(Counter(task.origin for task in tasks)),
        "repo": dict(Counter(task.repo for task in tasks)),
        "operator": dict(Counter(task.operator for task in tasks if task.operator)),
        "modules": dict(Counter(repo for repo, _ in modules)),
    }


class _State:
    """The driver's bookkeeping."""

    def __init__(self, planned: Plan, config: TasksConfig, journal: Journal[Tried], progress: Callable[[TaskCounts], None] | None) -> None:
        self._plan = planned
        self._wanted: dict[Side, int] = {"train": config.train, "heldout": config.heldout, "transfer": config.transfer}
        self._journal = journal
        self._progress = progress
        self._lost: Counter[str] = Counter()
        self._running: dict[Any, Unit] = {}
        self._found: dict[Side, set[str]] = {side: set() for side in SIDES}
        self._passed: list[Unit] = []

    def unfinished(self, width: int) -> Iterator[Unit]:
        """Units to run now, in order, at most `width` at a time; those of a side that has enough are passed over."""
        for unit in self._plan.units:
            while len(self._running) >= width:
                self._collect()
            if len(self._found[unit.side]) >= self._wanted[unit.side]:
                continue
            self._passed.append(unit)
            known = self._journal.tried.get(unit.key)
            if known is None:
                yield unit
            elif known.task is not None:
                self._found[unit.side].add(known.task.id)

    def submit(self, unit: Unit, actors: list[Any]) -> None:
        """Give a unit to the next worker."""
        self._running[actors[len(self._passed) % len(actors)].attempt.remote(unit)] = unit

    def drain(self) -> None:
        """Wait for everything under way."""
        while self._running:
            self._collect()

    def chosen(self) -> list[Task]:
        """The first tasks of each side in the plan's order, each once."""
        taken: dict[str, Task] = {}
        left = Counter(self._wanted)
        for unit in self._passed:
            task = (self._journal.tried.get(unit.key) or Tried(key="", task=None)).task
            if task is not None and task.id not in taken and left[unit.side] > 0:
                left[unit.side] -= 1
                taken[task.id] = task
        return list(taken.values())

    def counts(self) -> TaskCounts:
        refused = Counter({f"commit: {reason}": number for reason, number in self._plan.refused.items()})
        done = [self._journal.tried[unit.key] for unit in self._passed if unit.key in self._journal.tried]
        for tried in done:
            refused += Counter(tried.refused)
        return TaskCounts(
            found={side: min(len(self._found[side]), self._wanted[side]) for side in SIDES},
            wanted={side: self._wanted[side] for side in SIDES},
            tried=len(done),
            refused=dict(refused),
            flaky_ids=sum(tried.flaky_ids for tried in done),
            lost=dict(self._lost),
        )

    def report(self) -> None:
        if self._progress:
            self._progress(self.counts())

    def _collect(self) -> None:
        ready, _ = ray.wait(list(self._running), num_returns=1)
        unit = self._running.pop(ready[0])
        tried: Tried = ray.get(ready[0])
        if tried.lost:
            self._lost[tried.lost] += 1
            logger.warning("no box for %s: %s", unit.key, tried.lost)
        else:
            self._journal.add(tried)
            if tried.task is not None:
                self._found[unit.side].add(tried.task.id)
        self.report()


class TaskProver:
    """The Ray actor: one sandbox provider, any number of attempts at once."""

    def __init__(
        self,
        number: int,
        repos: Mapping[str, Place],
        open_history: OpenHistory,
        make_provider: Callable[[], SandboxProvider],
        trees: str,
        config: TasksConfig,
        limits: Limits,
        seed: int,
        run_id: str,
    ) -> None:
        self._number = number
        self._provider = make_provider()
        store = TreeStore(Path(trees))
        prover = Prover(self._provider, store.folder, limits, runs=config.proof_runs, run_id=run_id)
        self._attempts = Attempts(repos, open_history, prover, store, config, seed)

    def __repr__(self) -> str:
        return f"TaskProver({self._number})"

    async def attempt(self, unit: Unit) -> Tried:
        return await self._attempts.attempt(unit)

    async def close(self) -> None:
        self._attempts.close()
        await self._provider.close()


def _actor(place: int, concurrency: int) -> Any:
    # A dead worker is started again and its attempts repeated: an attempt leaves nothing behind.
    return ray.remote(TaskProver).options(
        name=actor_name(f"tasks-{place}"), num_cpus=0.5, max_concurrency=concurrency, max_restarts=-1, max_task_retries=3
    )


def _end(actors: list[Any]) -> None:
    try:
        ray.get([actor.close.remote() for actor in actors], timeout=10)
    except ray.exceptions.RayError:
        logger.warning("a task worker did not close in time")
    for actor in actors:
        ray.kill(actor)


def _plan(
    repos: Mapping[str, Path], open_history: OpenHistory, config: TasksConfig, transfer: Collection[str], seed: int
) -> tuple[Plan, dict[str, Place]]:
    """The plan, and where the readable repositories are."""
    histories: dict[str, History] = {}
    unreadable: dict[str, str] = {}
    try:
        for repo, path in repos.items():
            try:
                histories[repo] = open_history(repo, str(path), None)
            except HistoryError as error:
                unreadable[repo] = str(error)
        if not histories:
            raise HistoryError("; ".join(unreadable.values()) or "there is no repository to take tasks from; give history.repos")
        planned = plan(list(histories.values()), config, transfer=transfer, seed=seed)
    finally:
        for history in histories.values():
            history.close()
    if unreadable:
        planned = planned.model_copy(update={"refused": {**planned.refused, "unreadable repository": len(unreadable)}})
    return planned, {repo: Place(path=str(repos[repo]), head=history.head) for repo, history in histories.items()}


def _fingerprint(places: Mapping[str, Place], config: TasksConfig, transfer: Collection[str], seed: int) -> str:
    """Hash of all that decides the plan and its units, targets left out: raising them goes on from the same journal."""
    settings = config.model_dump(mode="json", exclude={"train", "heldout", "transfer"})
    body = json.dumps([sorted((repo, place.head) for repo, place in places.items()), settings, sorted(transfer), seed, Task.schema_version])
    return hashlib.sha256(body.encode()).hexdigest()
