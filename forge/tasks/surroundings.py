"""The environment of each era of a repository, chosen by running: the one in which most of the suite passes.

What is chosen is kept by era, so that a commit more of the same era costs nothing; a module that tests cannot import is
looked for on the index once.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import fcntl
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from forge.errors import TaskError
from forge.records import Drop, Environment, EnvironmentSpec, Limits, Record, TestRun
from forge.seams import Environments, SandboxProvider
from forge.store.atomic import write_bytes
from forge.tasks.era import Era, era_of, specs_of
from forge.tasks.suite import whole_suite

K = TypeVar("K")
V = TypeVar("V")
GOOD = 0.95
"""Share of tests that pass at which no other environment is tried."""
SUITE_FILES = 400
"""Test files that the trial runs at most."""
_MISSING = re.compile(r"No module named '?([A-Za-z_]\w*)")
_DISTRIBUTIONS = {"yaml": "pyyaml", "dateutil": "python-dateutil", "PIL": "pillow", "sklearn": "scikit-learn", "bs4": "beautifulsoup4"}
"""Modules whose distribution has another name; others are looked for under their own."""


class Trial(Record):
    """What came of a suite in one environment; nothing ran where a conftest could not be imported."""

    environment: Environment
    passed: int
    run: int
    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    """Requirements that nothing declares: modules that the tests could not import."""

    @property
    def share(self) -> float:
        return self.passed / self.run if self.run else 0.0


_FOUND: TypeAdapter[Trial | Drop] = TypeAdapter(Trial | Drop)


class Surroundings:
    """Finds environments for trees. One per process; what is asked for at once is tried once.

    The Python is chosen by a trial for each set of declared Pythons and year; packages follow each set of requirements.
    """

    def __init__(
        self,
        environments: Environments,
        provider: SandboxProvider,
        trees: Callable[[str], Path],
        limits: Limits,
        *,
        folder: Path,
        run_id: str,
    ) -> None:
        """`folder` keeps what trials found, for the other workers and for the next run."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._environments = environments
        self._provider = provider
        self._trees = trees
        self._limits = limits
        self._run_id = run_id
        self._choices: dict[tuple[object, ...], asyncio.Task[Trial | Drop]] = {}
        self._built: dict[tuple[str, Era], asyncio.Task[Environment | Drop]] = {}

    async def of(self, repo: str, tree: str, files: Mapping[str, bytes], date: datetime.datetime) -> Environment | Drop:
        """The environment for a tree as of a date, or why there is none. Raises `SandboxError` when a box failed."""
        era = era_of(files, date)
        return await _once(self._built, (repo, era), lambda: self._environment(repo, era, tree, files, date))

    async def _environment(self, repo: str, era: Era, tree: str, files: Mapping[str, bytes], date: datetime.datetime) -> Environment | Drop:
        key = repo, era.pythons, era.roots, era.year
        choice = await _once(self._choices, key, lambda: self._kept(key, lambda: self._choose(era, tree, files, date)))
        if isinstance(choice, Drop):
            return choice
        tried = choice.environment.spec
        added = [line for line in tried.requirements if line in choice.added]
        for spec in specs_of(era, [tried.python], date):
            try:
                wanted = spec.model_copy(update={"requirements": (*spec.requirements, *added)})
                return await asyncio.to_thread(self._environments.build, wanted, era.roots)
            except TaskError as error:
                return Drop(sha=tree, reason=f"no environment: {error}")
        raise AssertionError("a Python that was tried has a spec")

    async def _kept(self, key: tuple[object, ...], make: Callable[[], Coroutine[Any, Any, Trial | Drop]]) -> Trial | Drop:
        """What a worker of this or an earlier run found for the key, or else what `make` finds now."""
        path = self._folder / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.json"
        async with _locked(path.with_suffix(".lock")):
            if path.exists():
                return _FOUND.validate_json(path.read_text())
            found = await make()
            write_bytes(path, _FOUND.dump_json(found))
            return found

    async def _choose(self, era: Era, tree: str, files: Mapping[str, bytes], date: datetime.datetime) -> Trial | Drop:
        tests = whole_suite(files)[:SUITE_FILES]
        if not tests:
            return Drop(sha=tree, reason="the repository has no tests")
        own = {part.removesuffix(".py") for path in files for part in path.split("/")[:2]}
        best: Trial | None = None
        reasons: list[str] = []
        for spec in specs_of(era, self._environments.pythons(), date):
            try:
                trial = await self._with_missing(spec, era.roots, tree, tests, own)
            except TaskError as error:
                reasons.append(str(error))
                continue
            if best is None or trial.passed > best.passed:
                best = trial
            if best.share >= GOOD:
                break
        if best is None:
            return Drop(sha=tree, reason=f"no environment: {reasons[0] if reasons else 'no Python that fits is on this machine'}")
        return best if best.passed else Drop(sha=tree, reason="no test runs in any environment")

    async def _with_missing(
        self, spec: EnvironmentSpec, roots: Sequence[str], tree: str, tests: Sequence[str], own: Collection[str]
    ) -> Trial:
        """The trial of a spec, or of the same with the modules that its tests could not import."""
        trial = await self._try(spec, roots, tree, tests)
        wanted = sorted({_DISTRIBUTIONS.get(name, name) for name in trial.missing if name not in own})[:8]
        if not wanted:
            return trial
        more = spec.model_copy(update={"requirements": (*spec.requirements, *wanted)})
        again = await self._try(more, roots, tree, tests)
        return again.model_copy(update={"added": tuple(wanted)}) if again.passed > trial.passed else trial

    async def _try(self, spec: EnvironmentSpec, roots: Sequence[str], tree: str, tests: Sequence[str]) -> Trial:
        environment = await asyncio.to_thread(self._environments.build, spec, roots)
        box = await self._provider.open(self._trees(tree), limits=self._limits, run_id=self._run_id, environment=environment)
        try:
            run = await box.run_tests(tests)
        finally:
            await box.close()
        return _trial(environment, run)


def _trial(environment: Environment, run: TestRun) -> Trial:
    missing = {name for text in (run.reason, *run.messages.values()) for name in _MISSING.findall(text)}
    if not run.complete and not missing:
        raise TaskError(f"the suite does not finish: {run.reason.partition(':')[0]}")
    outcomes = [outcome for outcome in run.outcomes.values() if outcome != "skipped"] if run.complete else []
    return Trial(
        environment=environment,
        passed=outcomes.count("passed"),
        run=len(outcomes),
        missing=tuple(sorted(missing)),
    )


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """One process at a time."""
    with path.open("w") as file:
        await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
        yield


async def _once(tasks: dict[K, asyncio.Task[V]], key: K, make: Callable[[], Coroutine[Any, Any, V]]) -> V:
    """The result of `make` for a key, whoever asks first; a failure is not kept."""
    if key not in tasks or (tasks[key].done() and tasks[key].exception()):
        tasks[key] = asyncio.ensure_future(make())
    return await asyncio.shield(tasks[key])
