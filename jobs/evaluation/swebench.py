"""The staged agent on SWE-bench: patches as predictions in the official format, graded by swebench's own grading where images are.

The agent works in a tree without history. Hidden tests are in the instance's script alone, which runs in the image after it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from forge.config import ForgeConfig
from forge.errors import ConfigError, EndpointError, HistoryError, SandboxError, TaskError
from forge.evals.suites.problem import Sample, Score
from forge.evals.suites.registry import Hub
from forge.evals.suites.scores import SuiteResult, summed_up
from forge.observe.progress import Progress
from forge.records import Instance
from forge.store import atomic
from forge.tasks.public.load import collect, load
from forge.tasks.public.predictions import Prediction
from forge.tasks.public.sets import read_row
from jobs.evaluation.bench import Bench
from jobs.evaluation.rows import hub, place_of
from jobs.evaluation.samples import Kept
from jobs.evaluation.trees import repository_name, tree_of

SWEBENCH = "swebench"
HUB = Hub("SWE-bench/SWE-bench_Verified")
PREDICTIONS = "predictions.jsonl"
"""What `python -m swebench.harness.run_evaluation --predictions_path` reads."""
NO_IMAGE = "its image is not here (--pull fetches it)"


class Agent(Protocol):
    """What `jobs.solving.solver.SolvingAgent` is."""

    async def solve(self, folder: Path, question: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Plain values: `patch`, `reason`, `tokens`."""

    async def close(self) -> None:
        """End connections and boxes."""


class SwebenchSuite:
    """Share of instances resolved; `models` is who answers for each stage. What has no tree or no image is left out and counted."""

    def __init__(
        self, config: ForgeConfig, models: Mapping[str, str], make_agent: Callable[[], Agent], bench: Bench, progress: Progress
    ) -> None:
        self._config, self._models, self._make_agent, self._bench, self._progress = config, models, make_agent, bench, progress
        self._evaluation = config.evaluation
        self._name = self._evaluation.model or "forge"
        self.folder = Path(self._evaluation.out) / SWEBENCH
        self._masked: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def run(self) -> SuiteResult:
        """The result; `predictions.jsonl` holds every patch, graded or not."""
        if self._evaluation.samples != 1:
            raise ConfigError("swebench takes one prediction an instance; leave --n out")
        keys = {self._key(instance): instance for instance in self._instances()}
        patches, verdicts = Kept(self.folder / "patches.jsonl", Sample), Kept(self.folder / "samples.jsonl", Sample)
        try:
            asyncio.run(self._work(keys, patches, verdicts))
            written = [patches.known[key] for key in keys if key in patches.known]
            graded = [verdicts.known[key] for key in keys if key in verdicts.known]
        finally:
            patches.close()
            verdicts.close()
        settings = {
            "temperature": "0.0",
            "seed": str(self._config.seed),
            **{f"model of {name}": model for name, model in self._models.items()},
        }
        result = summed_up(
            SWEBENCH,
            self._name,
            [patch.problem for patch in written],
            graded,
            masked=self._masked,
            unproven=self._left_out,
            settings=settings,
            seed=self._config.seed,
        )
        measures = {"resolved": result.measures["pass@1"]} if result.measures else {}
        return result.model_copy(update={"measures": measures, "notes": (f"{len(written)} predictions: {self.folder / PREDICTIONS}",)})

    def _instances(self) -> list[Instance]:
        given = self._evaluation.data
        place = place_of(Path(given), SWEBENCH, alone=len(self._evaluation.suites) == 1) if given else None
        with self._progress.phase("instances", str(place or HUB.name)) as phase:
            found = load(place) if place else collect(hub(HUB), read_row)
            if found.refused or not found.instances:
                reason = next(iter(found.refused), "there is no row")
                raise ConfigError(
                    f"{sum(found.refused.values())} rows of {place or HUB.name} are no instances of a set that is known: {reason}"
                )
            phase.result(f"{len(found.instances):,} instances")
        return list(found.instances)[: self._evaluation.limit]

    def _key(self, instance: Instance) -> str:
        agent = self._config.agent.model_dump(mode="json")
        body = json.dumps([instance.content_hash(), dict(self._models), agent, self._config.seed], sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()

    async def _work(self, keys: Mapping[str, Instance], patches: Kept[Sample], verdicts: Kept[Sample]) -> None:
        try:
            await self._solve(keys, patches)
            self._write_predictions(patches.known[key] for key in keys if key in patches.known)
            await self._grade({key: keys[key] for key in keys if key in patches.known}, patches, verdicts)
        finally:
            await self._bench.close()

    async def _solve(self, keys: Mapping[str, Instance], patches: Kept[Sample]) -> None:
        """A patch, maybe an empty one, for each instance that has a tree."""
        todo = {key: instance for key, instance in keys.items() if key not in patches.known}
        if todo and self._evaluation.trees is None:
            todo = self._with_image(todo, "it has no tree")
        agent = self._make_agent() if todo else None
        free = asyncio.Semaphore(self._evaluation.concurrency)
        with self._progress.phase(SWEBENCH, f"the agent on {len(keys)} instances") as phase:
            phase.total(len(keys), done=len(keys) - len(todo), unit="instances")

            async def one(key: str, instance: Instance) -> None:
                assert agent is not None
                async with free:
                    try:
                        patches.add(await self._patch(agent, key, instance))
                    except HistoryError as error:
                        self._left_out[f"it has no tree: {error}"] += 1
                    except (EndpointError, SandboxError) as error:
                        self._masked[str(error)] += 1
                    phase.advance(now=instance.id)

            try:
                await asyncio.gather(*(one(key, instance) for key, instance in todo.items()))
            finally:
                if agent is not None:
                    await agent.close()
            phase.result(f"{sum(bool(patches.known[key].answer) for key in keys if key in patches.known)} of {len(keys)} have a patch")

    async def _patch(self, agent: Agent, key: str, instance: Instance) -> Sample:
        with tempfile.TemporaryDirectory(prefix="forge-swebench-") as folder:
            if self._evaluation.trees is None:
                tree = Path(folder) / repository_name(instance)
                await self._bench.unpack(instance, tree)
            else:
                tree = await asyncio.to_thread(tree_of, instance, Path(self._evaluation.trees), Path(folder))
            question = {"statement": instance.statement, "seconds": self._evaluation.solve_s, "seed": self._config.seed}
            found = await agent.solve(tree, question, lambda _: None)
        return Sample(
            key=key,
            suite=SWEBENCH,
            problem=instance.id,
            sample=0,
            text=found["reason"],
            answer=found["patch"],
            completion_tokens=found["tokens"],
        )

    def _write_predictions(self, patches: Iterable[Sample]) -> None:
        rows = [Prediction(instance_id=one.problem, model_name_or_path=self._name, model_patch=one.answer) for one in patches]
        atomic.write_text(self.folder / PREDICTIONS, "".join(row.model_dump_json() + "\n" for row in rows))

    async def _grade(self, keys: Mapping[str, Instance], patches: Kept[Sample], verdicts: Kept[Sample]) -> None:
        """A verdict on every patch whose image is here. Without a patch nothing is resolved, as swebench counts it too."""
        todo = {key: instance for key, instance in keys.items() if key not in verdicts.known}
        for key in [key for key in todo if not patches.known[key].answer.strip()]:
            score = Score(passed=False, reason=f"no patch: {patches.known[key].text}")
            verdicts.add(patches.known[key].model_copy(update={"score": score}))
            del todo[key]
        here = self._with_image(todo, "its patch is not graded")
        with self._progress.phase("grade", f"{len(here)} patches, each by its instance's own script") as phase:
            phase.total(len(here), unit="patches")

            async def one(key: str, instance: Instance) -> None:
                try:
                    verdict = await self._bench.grade(instance, patches.known[key].answer)
                    score = Score(passed=verdict.passed, reason=verdict.reason, seconds=verdict.seconds)
                    verdicts.add(patches.known[key].model_copy(update={"score": score}))
                except (SandboxError, TaskError) as error:
                    self._masked[str(error)] += 1
                phase.advance(now=instance.id)

            await asyncio.gather(*(one(key, instance) for key, instance in here.items()))
            phase.result(f"{sum(key in verdicts.known for key in here)} graded")

    def _with_image(self, keys: Mapping[str, Instance], what: str) -> dict[str, Instance]:
        """Those whose image is here; of the others it is counted why not."""
        if keys and (problem := self._bench.problem()):
            self._left_out[f"{what}: no container engine answers ({problem})"] += len(keys)
            return {}
        missing = self._bench.missing(list(keys.values()))
        if lacking := sum(instance.image in missing for instance in keys.values()):
            self._left_out[f"{what}: {NO_IMAGE}"] += lacking
        return {key: instance for key, instance in keys.items() if instance.image not in missing}
