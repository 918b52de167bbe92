"""Deriving, injecting and proving on Ray actors, resumable, until the targets are met.

`build_tasks` makes those of the loop, commits first; `inject_tasks` plants bugs alone, spread as evenly as can be.

The driver hands out units in the plan's order, keeps a journal, and takes the first tasks in that order: which
tasks a run ends with does not depend on which worker was faster.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ray

from forge.config import InjectConfig, TasksConfig
from forge.errors import HistoryError
from forge.observe.on_ray import actor_name
from forge.records import EASIER, Easier, Environment, Limits, Record, Side, Task
from forge.seams import Environments, History, SandboxProvider
from forge.store.atomic import write_text
from forge.store.parquet import write_records
from forge.store.trees import TreeStore
from forge.tasks.attempt import Attempts, OpenHistory, Place
from forge.tasks.journal import Journal, Tried
from forge.tasks.plan import Plan, Unit, plan
from forge.tasks.prove import Prover
from forge.tasks.sample import easier, sample
from forge.tasks.spread import Level, spread
from forge.tasks.surroundings import Surroundings

ENVIRONMENTS, INJECTED_ENVIRONMENTS = "environments.json", "injected-environments.json"
"""Beside the tasks that name them by id."""
SIDES: tuple[Side, ...] = ("train", "heldout", "transfer")
ALL = "all"
"""What counts of tasks are kept under where sides do not matter."""
SOFT = "soft"
"""And for tasks that nobody can run."""
SEEN = 0.9
"""Largest share of a module's tests that the bug of an easier task fails: what tells where it is makes a task easy."""
logger = logging.getLogger(__name__)


class TaskCounts(Record):
    """How far it is: tasks found and wanted by side, units tried, everything refused by reason."""

    found: dict[str, int]
    wanted: dict[str, int]
    planned: int = 0
    tried: int = 0
    refused: dict[str, int] = {}
    flaky_ids: int = 0
    operators: dict[str, int] = {}
    """Bugs tried by operator, where they were planned one by one, and …"""
    noticed: dict[str, int] = {}
    """… those of them that the tests noticed."""
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
    environments: tuple[Environment, ...] = ()
    """What `tasks` name by id."""
    seconds: tuple[float, ...] = ()
    """Wall clock of every unit tried, on its worker."""


@dataclass(frozen=True)
class Means:
    """What tasks are made with: how histories, boxes and environments are opened, where trees go, how much at once."""

    open_history: OpenHistory
    make_provider: Callable[[], SandboxProvider]
    trees: Path
    run_id: str
    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    workers: int = 2
    concurrency: int = 4
    """Attempts under way in one worker."""
    make_environments: Callable[[], Environments] | None = None
    """Without it everything runs in forge's own Python."""


def build_tasks(
    repos: Mapping[str, Path],
    output: Path,
    config: TasksConfig,
    means: Means,
    *,
    transfer: Collection[str] = (),
    plain: Collection[str] = (),
    progress: Callable[[TaskCounts], None] | None = None,
) -> TaskSet:
    """Write `output/tasks.parquet` and return the proven tasks; what an earlier run tried is read from `output/journal.jsonl`.

    `repos` are name → folder, those in `transfer` give transfer tasks only. A repository that cannot be read is counted;
    only when none can it raises `HistoryError`. Whoever calls must not pass strange code to a `trusted_only` provider.
    Every repository but the `plain` ones runs in environments of its own eras, where there are such.
    Fewer tasks than wanted is a result: look at `counts`. Needs a running Ray whose workers see all these folders.
    """
    planned, places = _plan(repos, means.open_history, partial(plan, config=config, transfer=transfer, seed=means.seed))
    journal = Journal(output / "journal.jsonl", _fingerprint(places, config, transfer, means.seed), Tried)
    wanted = {"train": config.train, "heldout": config.heldout, "transfer": config.transfer}
    state = _State(planned, wanted, journal, progress, config.soft)
    _carry_out(state, Workplace(_with_environments(places, means, plain), output / "trials", config, means))
    tasks = [task for _, task in state.chosen()]
    write_records(output / "tasks.parquet", tasks, Task)
    return TaskSet(
        tasks=tuple(tasks),
        heldout_files=planned.heldout_files,
        counts=state.counts(),
        spread=spread_of(tasks),
        environments=_write_environments(output / ENVIRONMENTS, state.environments(tasks)),
        seconds=state.seconds(),
    )


class Injected(Record):
    """Proven tasks with planted bugs in the plan's order, how it went, and how evenly they spread."""

    tasks: tuple[Task, ...]
    counts: TaskCounts
    levels: dict[str, Level]
    planned: int
    """Units that there were to try."""


def inject_tasks(
    repos: Mapping[str, Path],
    output: Path,
    config: TasksConfig,
    inject: InjectConfig,
    means: Means,
    *,
    progress: Callable[[TaskCounts], None] | None = None,
) -> Injected:
    """Write `output/injected.parquet` and return its tasks; what an earlier run tried is read from `output/injected.jsonl`.

    As `build_tasks` in everything else; counts are kept under `ALL`.
    """
    planned, places = _plan(repos, means.open_history, partial(sample, config=config, inject=inject, seed=means.seed))
    settings = inject.model_dump_json(exclude={"count"})
    journal = Journal(output / "injected.jsonl", _fingerprint(places, config, (settings,), means.seed), Tried)
    state = _State(planned, {ALL: inject.count}, journal, progress)
    _carry_out(state, Workplace(_with_environments(places, means), output / "trials", config, means, inject))
    found = state.chosen()
    tasks = [task for _, task in found]
    write_records(output / "injected.parquet", tasks, Task)
    _write_environments(output / INJECTED_ENVIRONMENTS, state.environments(tasks))
    return Injected(tasks=tuple(tasks), counts=state.counts(), levels=spread(found, planned.units), planned=len(planned.units))


def easier_tasks(
    repos: Mapping[str, Path],
    output: Path,
    config: TasksConfig,
    batch: Easier,
    means: Means,
    *,
    transfer: Collection[str] = (),
    plain: Collection[str] = (),
    progress: Callable[[TaskCounts], None] | None = None,
) -> tuple[Task, ...]:
    """The proven tasks of a batch, at most as many as it asks for; their ids begin with `EASIER`.

    As `build_tasks` in everything else; what was tried is in `output/easier.jsonl`.
    """
    make = partial(easier, config=config, batch=batch, transfer=transfer, seed=means.seed)
    planned, places = _plan(repos, means.open_history, make)
    journal = Journal(output / "easier.jsonl", _fingerprint(places, config, (batch.content_hash(), *transfer), means.seed), Tried)
    state = _State(planned, {ALL: batch.count}, journal, progress)
    inject = InjectConfig(distance="function", min_failing=batch.failing, max_failing=SEEN)
    _carry_out(state, Workplace(_with_environments(places, means, plain), output / "trials", config, means, inject))
    found = [task for _, task in state.chosen()]
    _write_environments(output / INJECTED_ENVIRONMENTS, state.environments(found))
    return tuple(task.model_copy(update={"id": f"{EASIER}{task.id}"}) for task in found)


def heldout_files(
    repos: Mapping[str, Path], config: TasksConfig, *, open_history: OpenHistory, transfer: Collection[str] = (), seed: int = 0
) -> tuple[tuple[str, str], ...]:
    """What `build_tasks` will call `heldout_files`, without running anything: mining may start before tasks are proven."""
    return _plan(repos, open_history, partial(plan, config=config, transfer=transfer, seed=seed))[0].heldout_files


def spread_of(tasks: Collection[Task]) -> dict[str, dict[str, int]]:
    """How tasks spread over sides, origins, repositories, operators; and the number of different modules."""
    modules = {(task.repo, edit.path) for task in tasks for edit in task.gold}
    return {
        "side": dict(Counter(str(task.side) for task in tasks)),
        "origin": dict(Counter(task.origin for task in tasks)),
        "repo": dict(Counter(task.repo for task in tasks)),
        "operator": dict(Counter(task.operator for task in tasks if task.operator)),
        "graded by": dict(Counter("overlap" if task.soft else "tests" for task in tasks)),
        "modules": dict(Counter(repo for repo, _ in modules)),
    }


class _State:
    """The driver's bookkeeping."""

    def __init__(
        self,
        planned: Plan,
        wanted: Mapping[str, int],
        journal: Journal[Tried],
        progress: Callable[[TaskCounts], None] | None,
        soft: int = 0,
    ) -> None:
        """`wanted` has a number for each side, or one for `ALL`; `soft` tasks are taken beside them, at most so many."""
        self._soft = soft
        self._plan = planned
        self._wanted = dict(wanted)
        self.journal = journal
        self._progress = progress
        self._lost: Counter[str] = Counter()
        self._running: dict[Any, Unit] = {}
        self._found: dict[str, set[str]] = {goal: set() for goal in self._wanted}
        self._passed: list[Unit] = []

    def unfinished(self, width: int) -> Iterator[Unit]:
        """Units to run now, in order, at most `width` at a time; those of a side that has enough are passed over."""
        for unit in self._plan.units:
            while len(self._running) >= width:
                self._collect()
            if len(self._found[self._goal(unit)]) >= self._wanted[self._goal(unit)]:
                continue
            self._passed.append(unit)
            known = self.journal.tried.get(unit.key)
            if known is None:
                yield unit
            elif known.task is not None and not known.task.soft:
                self._found[self._goal(unit)].add(known.task.id)

    def submit(self, unit: Unit, actors: list[Any]) -> None:
        """Give a unit to the next worker; planned bugs of one module to one, which then knows what its tests reach."""
        place = zlib.crc32(unit.path.encode("utf-8", "surrogateescape")) if unit.sites else len(self._passed)
        self._running[actors[place % len(actors)].attempt.remote(unit)] = unit

    def drain(self) -> None:
        """Wait for everything under way."""
        while self._running:
            self._collect()

    def chosen(self) -> list[tuple[Unit, Task]]:
        """The first tasks of each side in the plan's order, each once, and the units that they came of."""
        taken: dict[str, tuple[Unit, Task]] = {}
        left = Counter(self._wanted) + Counter({SOFT: self._soft})
        for unit in self._passed:
            task = (self.journal.tried.get(unit.key) or Tried(key="", task=None)).task
            goal = SOFT if task is not None and task.soft else self._goal(unit)
            if task is not None and task.id not in taken and left[goal] > 0:
                left[goal] -= 1
                taken[task.id] = unit, task
        return list(taken.values())

    def environments(self, tasks: Collection[Task]) -> list[Environment]:
        """Where these tasks run, each once."""
        wanted = {task.environment for task in tasks}
        known = [tried.environment for tried in self.journal.tried.values() if tried.environment]
        return list({found.id: found for found in known if found.id in wanted}.values())

    def seconds(self) -> tuple[float, ...]:
        """Wall clock of each unit tried, on its worker."""
        return tuple(self.journal.tried[unit.key].seconds for unit in self._passed if unit.key in self.journal.tried)

    def counts(self) -> TaskCounts:
        refused = Counter({reason if ": " in reason else f"commit: {reason}": number for reason, number in self._plan.refused.items()})
        done = [self.journal.tried[unit.key] for unit in self._passed if unit.key in self.journal.tried]
        for tried in done:
            refused += Counter(tried.refused)
        return TaskCounts(
            found={goal: min(len(self._found[goal]), wanted) for goal, wanted in self._wanted.items()},
            wanted=dict(self._wanted),
            planned=len(self._plan.units),
            tried=len(done),
            refused=dict(refused),
            flaky_ids=sum(tried.flaky_ids for tried in done),
            lost=dict(self._lost),
            operators=_sum(tried.operators for tried in done),
            noticed=_sum(tried.noticed for tried in done),
        )

    def report(self) -> None:
        if self._progress:
            self._progress(self.counts())

    def _goal(self, unit: Unit) -> str:
        return ALL if ALL in self._wanted else unit.side

    def _collect(self) -> None:
        ready, _ = ray.wait(list(self._running), num_returns=1)
        unit = self._running.pop(ready[0])
        tried: Tried = ray.get(ready[0])
        if tried.lost:
            self._lost[tried.lost] += 1
            logger.warning("no box for %s: %s", unit.key, tried.lost)
        else:
            self.journal.add(tried)
            if tried.task is not None and not tried.task.soft:
                self._found[self._goal(unit)].add(tried.task.id)
        self.report()


@dataclass(frozen=True)
class Workplace:
    """What every worker is made from. `trials` is the folder that keeps which environments were chosen."""

    repos: Mapping[str, Place]
    trials: Path
    config: TasksConfig
    means: Means
    inject: InjectConfig | None = None

    def attempts(self, provider: SandboxProvider) -> Attempts:
        """What tries units, with boxes of `provider`."""
        means, store = self.means, TreeStore(self.means.trees)
        prover = Prover(provider, store.folder, means.limits, runs=self.config.proof_runs, run_id=means.run_id)
        surroundings = means.make_environments and Surroundings(
            means.make_environments(), provider, store.folder, means.limits, folder=self.trials, run_id=means.run_id
        )
        return Attempts(self.repos, means.open_history, prover, store, self.config, means.seed, surroundings, self.inject)


class TaskProver:
    """The Ray actor: one sandbox provider, any number of attempts at once."""

    def __init__(self, number: int, workplace: Workplace) -> None:
        self._number = number
        self._provider = workplace.means.make_provider()
        self._attempts = workplace.attempts(self._provider)

    def __repr__(self) -> str:
        return f"TaskProver({self._number})"

    async def attempt(self, unit: Unit) -> Tried:
        return await self._attempts.attempt(unit)

    async def close(self) -> None:
        self._attempts.close()
        await self._provider.close()


def _carry_out(state: _State, workplace: Workplace) -> None:
    """Try units on actors until there is enough, or nothing left to try."""
    means = workplace.means
    actors: list[Any] = []
    try:
        state.report()
        for unit in state.unfinished(means.workers * means.concurrency):
            while len(actors) < means.workers:
                actors.append(_actor(len(actors), means.concurrency).remote(len(actors), workplace))
            state.submit(unit, actors)
        state.drain()
    finally:
        state.journal.close()
        _end(actors)


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


def _plan(repos: Mapping[str, Path], open_history: OpenHistory, make: Callable[[Sequence[History]], Plan]) -> tuple[Plan, dict[str, Place]]:
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
        planned = make(list(histories.values()))
    finally:
        for history in histories.values():
            history.close()
    if unreadable:
        planned = planned.model_copy(update={"refused": {**planned.refused, "unreadable repository": len(unreadable)}})
    return planned, {repo: Place(path=str(repos[repo]), head=history.head) for repo, history in histories.items()}


def _with_environments(places: Mapping[str, Place], means: Means, plain: Collection[str] = ()) -> dict[str, Place]:
    """The places, each marked when its code wants environments of its own."""
    own = means.make_environments is not None
    return {repo: place.model_copy(update={"own_environment": own and repo not in plain}) for repo, place in places.items()}


def _write_environments(path: Path, environments: Sequence[Environment]) -> tuple[Environment, ...]:
    write_text(path, json.dumps([found.model_dump(mode="json") for found in environments], indent=1))
    return tuple(environments)


def _fingerprint(places: Mapping[str, Place], config: TasksConfig, transfer: Collection[str], seed: int) -> str:
    """Hash of all that decides the plan and its units, targets left out: raising them goes on from the same journal."""
    settings = config.model_dump(mode="json", exclude={"train", "heldout", "transfer"})
    body = json.dumps([sorted((repo, place.head) for repo, place in places.items()), settings, sorted(transfer), seed, Task.schema_version])
    return hashlib.sha256(body.encode()).hexdigest()


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for some in counts:
        total.update(some)
    return dict(total)
