"""One planned unit of `forge tasks inject`, tried: every bug must be noticed by the tests alone, then all of them together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from forge.config import InjectConfig
from forge.records import Drop, Environment, Symbol, Task
from forge.tasks.candidate import Candidate
from forge.tasks.inject import Bug, bugs_at, with_bugs
from forge.tasks.plan import Site, Unit
from forge.tasks.prove import UNFIT, Prover, Runs
from forge.tasks.reach import Reach
from forge.tasks.suite import Suite
from forge.tasks.visibility import Visibility

FEW = 0.5
"""Share of a module's tests below which those that call a function are run alone first."""


class Ground(Protocol):
    """A head to plant into: its files, their tree's hash, its suite."""

    files: Mapping[str, bytes]
    tree: str
    suite: Suite
    environment: Environment | None

    def symbol(self, path: str, name: str) -> Symbol:
        """A function of it."""


class Planted(NamedTuple):
    """What came of a unit: its task and every refusal, and by operator how many bugs were tried and noticed by the tests."""

    ends: list[Task | Drop]
    tried: Counter[str]
    noticed: Counter[str]


class Planter:
    """Plants what a unit's sites say."""

    def __init__(self, prover: Prover, healthy: Callable[[Candidate], Awaitable[Runs]], config: InjectConfig, seed: int) -> None:
        """`healthy` gives the runs of a candidate's tests with gold in place."""
        self._prover = prover
        self._healthy = healthy
        self._seed = seed
        self._visibility = Visibility(least=config.min_failing, most=config.max_failing)
        self._reached: dict[tuple[str, str], asyncio.Task[Reach | None]] = {}

    async def plant(self, unit: Unit, ground: Ground) -> Planted:
        """Try the unit. Raises `SandboxError` when boxes fail."""
        done = Planted([], Counter(), Counter())
        chosen: list[Bug] = []
        for site in unit.sites:
            symbol = ground.symbol(site.path, site.name)
            reach = await self._reach(unit, ground, site.path)
            if reach and not reach.calls(symbol):
                done.ends.append(Drop(sha=unit.key, reason="no test calls the function"))
                return done
            tests = reach.tests_of(symbol) if reach else ()
            for bug in self._bugs(site, symbol, ground, reach):
                if bug.touches(chosen):
                    continue
                end = await self._try(unit, ground, [*chosen, bug], tests, done)
                if end is None:
                    chosen.append(bug)
                    break
                done.ends.append(end)
                if isinstance(end, Task) or end.reason in UNFIT:
                    return done
            else:
                done.ends.append(Drop(sha=unit.key, reason="no bug tried in the function is one that is wanted"))
                return done
        return done

    async def _try(self, unit: Unit, ground: Ground, bugs: Sequence[Bug], tests: Sequence[str], done: Planted) -> Task | Drop | None:
        """What comes of the last of these bugs: `None` when it is noticed and the unit wants more of them."""
        last = bugs[-1]
        done.tried[last.operator] += 1
        alone = self._candidate(unit, ground, [last])
        gold = await self._healthy(alone)
        if len(unit.sites) > 1 or _worth_asking(tests, gold):
            reason = await self._prover.notice(alone, gold, self._visibility, tests)
            if reason:
                return Drop(sha=unit.key, reason=reason)
        if len(bugs) < len(unit.sites):
            done.noticed[last.operator] += 1
            return None
        candidate = self._candidate(unit, ground, bugs)
        end = await self._prover.prove(candidate, unit.side, await self._healthy(candidate), self._visibility)
        done.noticed[last.operator] += isinstance(end, Task)
        return end

    async def _reach(self, unit: Unit, ground: Ground, path: str) -> Reach | None:
        """What the tests of a source file reach in it, found out once."""
        key = ground.tree, path
        if key not in self._reached or (self._reached[key].done() and self._reached[key].exception()):
            made = with_bugs(unit.repo, unit.sha, ground.tree, ground.files, [], ground.suite.tests_for(path))
            candidate = made.model_copy(update={"environment": ground.environment})
            self._reached[key] = asyncio.ensure_future(self._prover.reach(candidate, path))
        return await asyncio.shield(self._reached[key])

    def _candidate(self, unit: Unit, ground: Ground, bugs: Sequence[Bug]) -> Candidate:
        tests = dict.fromkeys(test for bug in bugs for test in ground.suite.tests_for(bug.path))
        made = with_bugs(unit.repo, unit.sha, ground.tree, ground.files, bugs, list(tests))
        return made.model_copy(update={"environment": ground.environment})

    def _bugs(self, site: Site, symbol: Symbol, ground: Ground, reach: Reach | None) -> Iterator[Bug]:
        text = ground.files[site.path].decode()
        return bugs_at(text, symbol, site.operators, site.used, self._seed, reach.ran if reach else lambda *_: True)


def _worth_asking(tests: Sequence[str], gold: Runs) -> bool:
    """Whether a run of some tests first is much cheaper than the proof that it may save."""
    return 0 < len(tests) < FEW * len(gold.runs[0].outcomes)
