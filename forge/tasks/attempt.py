"""One unit of the plan, tried: what a worker does, without Ray."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections import Counter
from collections.abc import Callable, Mapping

from forge.config import InjectConfig, TasksConfig
from forge.errors import ForgeError, SandboxError
from forge.records import Commit, CommitSummary, Drop, Environment, Record, Symbol, Task
from forge.seams import History
from forge.stages.source.symbols import symbols_of
from forge.store.trees import TreeStore
from forge.tasks.candidate import Candidate
from forge.tasks.derive import derive
from forge.tasks.inject import inject
from forge.tasks.journal import Tried
from forge.tasks.plan import Unit
from forge.tasks.planting import Planter
from forge.tasks.prove import Prover, Runs, soft_task
from forge.tasks.suite import Suite, whole_suite
from forge.tasks.surroundings import Surroundings

ATTEMPTS = 5
"""Bugs tried in one turn at a function: about half of all bugs are noticed by tests (measured over 12 operators)."""
BOX_TRIES = 3

OpenHistory = Callable[[str, str, str | None], History]
"""(name, folder, commit to pin, or `None` for where HEAD is) → history."""


class Place(Record):
    """A repository's folder and the commit that it was at when the run began."""

    path: str
    head: str
    own_environment: bool = False
    """Whether its code wants a Python and packages of its own time, not forge's."""


class Attempts:
    """Tries units. Keeps each repository's head, its suite and the runs of its healthy tests."""

    def __init__(
        self,
        repos: Mapping[str, Place],
        open_history: OpenHistory,
        prover: Prover,
        trees: TreeStore,
        config: TasksConfig,
        seed: int,
        surroundings: Surroundings | None = None,
        inject: InjectConfig | None = None,
    ) -> None:
        """`surroundings` finds the environments of repositories whose place says that they need one."""
        self._surroundings = surroundings
        self._repos = dict(repos)
        self._open_history = open_history
        self._prover = prover
        self._trees = trees
        self._turns = config.max_per_symbol
        self._new_names = config.new_names
        self._soft = config.soft > 0
        self._seed = seed
        self._planter = Planter(prover, self._healthy, inject or InjectConfig(), seed)
        self._histories: dict[str, History] = {}
        self._summaries: dict[str, dict[str, CommitSummary]] = {}
        self._heads: dict[tuple[str, str], _Head] = {}
        self._gold: dict[tuple[str, tuple[str, ...]], asyncio.Task[Runs]] = {}

    async def attempt(self, unit: Unit) -> Tried:
        """What came of a unit; a failing box is tried again, then reported as lost."""
        began = time.monotonic()
        for left in range(BOX_TRIES - 1, -1, -1):
            try:
                tried = await self._tried(unit)
                return tried.model_copy(update={"seconds": time.monotonic() - began})
            except SandboxError as error:
                if not left:
                    return Tried(key=unit.key, task=None, lost=str(error))
            except (ForgeError, RecursionError, MemoryError) as error:
                return Tried(key=unit.key, task=None, refused={f"unreadable: {type(error).__name__}": 1})
        raise AssertionError("unreachable")

    async def _tried(self, unit: Unit) -> Tried:
        if unit.kind == "commit":
            return await self._derived(unit)
        return await (self._planted(unit) if unit.sites else self._injected(unit))

    def close(self) -> None:
        """End the helper processes."""
        for history in self._histories.values():
            history.close()

    async def _derived(self, unit: Unit) -> Tried:
        history = self._history(unit.repo)
        if unit.repo not in self._summaries:
            self._summaries[unit.repo] = {summary.sha: summary for summary in history.summaries()}
        commit = history.commit(self._summaries[unit.repo][unit.sha])
        if not isinstance(commit, Commit):
            return _tried(unit, [commit])
        parent = history.tree(commit.parents[0])
        candidate = derive(commit, parent, self._trees, new_names=self._new_names)
        if isinstance(candidate, Drop):
            return _tried(unit, [candidate])
        placed = await self._placed(candidate, parent, commit.authored_at)
        if isinstance(placed, Drop):
            ends: list[Task | Drop] = [placed]
            if self._soft and unit.side == "train" and candidate.title:
                ends.append(soft_task(candidate))
            return _tried(unit, ends)
        return _tried(unit, [await self._prover.prove(placed, unit.side)], placed.environment)

    async def _placed(self, candidate: Candidate, files: Mapping[str, bytes], date: str) -> Candidate | Drop:
        """The candidate in the environment of its time, when its repository wants one."""
        if self._surroundings is None or not self._repos[candidate.repo].own_environment:
            return candidate
        environment = await self._surroundings.of(candidate.repo, candidate.tree, files, datetime.datetime.fromisoformat(date))
        if isinstance(environment, Drop):
            return environment
        own = {edit.path for edit in candidate.tests}
        suite = tuple(path for path in whole_suite(files) if path not in own)
        return candidate.model_copy(update={"environment": environment, "suite": suite})

    async def _injected(self, unit: Unit) -> Tried:
        head = self._head(unit.repo, unit.sha)
        symbol = head.symbol(unit.path, unit.name)
        ends: list[Task | Drop] = []
        environment = await self._environment_of_head(unit, head)
        if isinstance(environment, Drop):
            return _tried(unit, [environment])
        head.environment = environment
        bugs = inject(
            unit.repo, unit.sha, head.tree, head.files, symbol, head.suite.tests_for(unit.path), self._seed, unit.turn, self._turns
        )
        for bug in bugs:
            candidate = bug.model_copy(update={"environment": head.environment})
            ends.append(await self._prover.prove(candidate, unit.side, await self._healthy(candidate)))
            if isinstance(ends[-1], Task) or len(ends) == ATTEMPTS:
                break
        return _tried(unit, ends or [Drop(sha=unit.key, reason="no bug to plant")], head.environment)

    async def _planted(self, unit: Unit) -> Tried:
        head = self._head(unit.repo, unit.sha)
        environment = await self._environment_of_head(unit, head)
        if isinstance(environment, Drop):
            return _tried(unit, [environment])
        head.environment = environment
        done = await self._planter.plant(unit, head)
        ends = done.ends or [Drop(sha=unit.key, reason="no bug to plant")]
        return _tried(unit, ends, head.environment).model_copy(update={"operators": dict(done.tried), "noticed": dict(done.noticed)})

    async def _environment_of_head(self, unit: Unit, head: _Head) -> Environment | Drop | None:
        if self._surroundings is None or not self._repos[unit.repo].own_environment:
            return None
        newest = next(iter(self._history(unit.repo).summaries(count=1)))
        date = datetime.datetime.fromisoformat(newest.authored_at)
        return await self._surroundings.of(unit.repo, head.tree, head.files, date)

    async def _healthy(self, candidate: Candidate) -> Runs:
        """Runs of the head's own tests, made once: with gold in place every planted bug leaves this very state."""
        key = candidate.tree, tuple(edit.path for edit in candidate.tests)
        if key not in self._gold or (self._gold[key].done() and self._gold[key].exception()):
            self._gold[key] = asyncio.ensure_future(self._prover.gold(candidate))
        return await asyncio.shield(self._gold[key])

    def _history(self, repo: str) -> History:
        if repo not in self._histories:
            place = self._repos[repo]
            self._histories[repo] = self._open_history(repo, place.path, place.head)
        return self._histories[repo]

    def _head(self, repo: str, sha: str) -> _Head:
        if (repo, sha) not in self._heads:
            self._heads[repo, sha] = _Head(self._history(repo).tree(sha), self._trees)
        return self._heads[repo, sha]


class _Head:
    def __init__(self, files: Mapping[str, bytes], trees: TreeStore) -> None:
        self.files = files
        self.tree = trees.put(files)
        self.suite = Suite(files)
        self.environment: Environment | None = None
        self._symbols: dict[str, dict[str, Symbol]] = {}

    def symbol(self, path: str, name: str) -> Symbol:
        if path not in self._symbols:
            # Of several functions with one name the first counts.
            self._symbols[path] = {symbol.name: symbol for symbol in reversed(symbols_of(path, self.files[path].decode()))}
        return self._symbols[path][name]


def _tried(unit: Unit, ends: list[Task | Drop], environment: Environment | None = None) -> Tried:
    task = next((end for end in ends if isinstance(end, Task)), None)
    refused = Counter(f"{unit.kind}: {end.reason}" for end in ends if isinstance(end, Drop))
    flaky = task.proof.flaky_ids if task and task.proof else 0
    return Tried(key=unit.key, task=task, refused=dict(refused), flaky_ids=flaky, environment=environment if task else None)
