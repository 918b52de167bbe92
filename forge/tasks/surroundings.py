"""The environment of each era of a repository, chosen by running: the one in which most of the suite passes.

What is chosen is kept by era, so that a commit more of the same era costs nothing; a module that tests cannot import is
looked for on the index once.
"""

from __future__ import annotations

import asyncio
import datetime
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from forge.errors import TaskError
from forge.records import Drop, Environment, EnvironmentSpec, Limits, Record, TestRun
from forge.seams import Environments, SandboxProvider
from forge.tasks.era import Era, era_of, specs_of
from forge.tasks.suite import is_test_file

GOOD = 0.95
"""Share of tests that pass at which no other environment is tried."""
SUITE_FILES = 400
"""Test files that the trial runs at most."""
_MISSING = re.compile(r"No module named '?([A-Za-z_]\w*)")
_DISTRIBUTIONS = {"yaml": "pyyaml", "dateutil": "python-dateutil", "PIL": "pillow", "sklearn": "scikit-learn", "bs4": "beautifulsoup4"}
"""Modules whose distribution has another name; others are looked for under their own."""


class Trial(Record):
    """What came of a suite in one environment."""

    environment: Environment
    passed: int
    run: int
    missing: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def share(self) -> float:
        return self.passed / self.run if self.run else 0.0


class Surroundings:
    """Finds environments for trees. One per process; eras asked for at once are tried once."""

    def __init__(
        self, environments: Environments, provider: SandboxProvider, trees: Callable[[str], Path], limits: Limits, *, run_id: str
    ) -> None:
        self._environments = environments
        self._provider = provider
        self._trees = trees
        self._limits = limits
        self._run_id = run_id
        self._chosen: dict[tuple[str, Era], asyncio.Task[Environment | Drop]] = {}

    async def of(self, repo: str, tree: str, files: Mapping[str, bytes], date: datetime.datetime) -> Environment | Drop:
        """The environment for a tree as of a date, or why there is none. Raises `SandboxError` when a box failed."""
        era = era_of(files, date)
        key = repo, era
        if key not in self._chosen or (self._chosen[key].done() and self._chosen[key].exception()):
            self._chosen[key] = asyncio.ensure_future(self._choose(era, tree, files, date))
        return await asyncio.shield(self._chosen[key])

    async def _choose(self, era: Era, tree: str, files: Mapping[str, bytes], date: datetime.datetime) -> Environment | Drop:
        tests = sorted(path for path in files if is_test_file(path))[:SUITE_FILES]
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
        if not best.passed:
            return Drop(sha=tree, reason="no test runs in any environment")
        return best.environment

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
        return again if again.passed > trial.passed else trial

    async def _try(self, spec: EnvironmentSpec, roots: Sequence[str], tree: str, tests: Sequence[str]) -> Trial:
        environment = await asyncio.to_thread(self._environments.build, spec, roots)
        box = await self._provider.open(self._trees(tree), limits=self._limits, run_id=self._run_id, environment=environment)
        try:
            run = await box.run_tests(tests)
        finally:
            await box.close()
        return _trial(environment, run)


def _trial(environment: Environment, run: TestRun) -> Trial:
    if not run.complete:
        raise TaskError(f"the suite does not finish: {run.reason.partition(':')[0]}")
    missing = {name for text in run.messages.values() for name in _MISSING.findall(text)}
    outcomes = [outcome for outcome in run.outcomes.values() if outcome != "skipped"]
    return Trial(
        environment=environment,
        passed=outcomes.count("passed"),
        run=len(outcomes),
        missing=tuple(sorted(missing)),
        seconds=run.seconds,
    )
