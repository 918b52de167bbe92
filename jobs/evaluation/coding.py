"""Coding suites: a chat model writes, answers are examined in boxes, every sample is on disk as soon as it is scored."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forge.config import EvaluationConfig, ForgeConfig
from forge.endpoint.chat import ChatClient
from forge.evals.suites.examiner import Assigned, Examiner, Proven, Reply
from forge.evals.suites.on_ray import ExamPool
from forge.evals.suites.problem import Problem, Sample, UnitTests
from forge.evals.suites.registry import SUITES
from forge.evals.suites.scores import SuiteResult, summed_up
from forge.observe.progress import Progress
from forge.records import Limits, Message, Record
from forge.seams import Grader
from forge.store import atomic
from jobs.evaluation.rows import read_problems
from jobs.evaluation.samples import Kept, stop_if_sick
from jobs.evaluation.served import Served
from jobs.wiring import ProviderFactory
from sandboxes.grading import BoxGrader
from sandboxes.pick import Choice

BASE = "main"
"""The model that is asked when none is named."""


class ExaminerFactory(Record):
    """Makes a worker's examiner; travels to Ray workers. The key is read where it runs."""

    config: EvaluationConfig
    url: str
    model: str
    key: str
    provider: ProviderFactory
    retries: int

    def __call__(self) -> Examiner:
        config, provider = self.config, self.provider()
        client = ChatClient(
            self.url,
            self.model,
            key=self.key or os.environ.get(config.key_variable, ""),
            temperature=config.temperature,
            max_tokens=config.max_answer_tokens,
            request_s=config.request_s,
            retries=config.retries,
            extra=config.extra,
        )

        async def ask(messages: Sequence[Message], seed: int) -> Reply:
            said = await client.ask(messages, seed)
            return Reply.model_validate(said.model_dump())

        def grader(limits: Limits, nothing: Path) -> Grader:
            return BoxGrader(provider, lambda _: nothing, limits, "evaluate")

        return Examiner(ask, provider, grader, memory_bytes=config.memory_bytes, retries=self.retries, prompt_chars=config.prompt_chars)


@contextmanager
def pool_of(served: Served, sandbox: Choice) -> Iterator[ExamPool]:
    """Workers that ask one model and examine answers of every suite."""
    config = served.config.evaluation
    model = model_of(config)
    factory = ExaminerFactory(
        config=config,
        url=served.chat_url(model),
        model=model,
        key=served.key,
        provider=ProviderFactory(kind=sandbox.name),
        retries=served.config.sandbox.infra_retries,
    )
    pool = ExamPool(factory, workers=config.workers, concurrency=config.concurrency)
    try:
        yield pool
    finally:
        pool.close()


def model_of(config: EvaluationConfig) -> str:
    """The model that coding suites ask."""
    return config.model or BASE


class CodingSuite:
    """One suite and one model."""

    def __init__(self, name: str, config: ForgeConfig, pool: ExamPool, progress: Progress) -> None:
        self._name, self._pool, self._progress = name, pool, progress
        self._config, self._seed = config.evaluation, config.seed
        self._model = model_of(config.evaluation)
        self.folder = Path(self._config.out) / name

    def run(self) -> SuiteResult:
        """The result, from what is there already and what had to be asked."""
        problems = read_problems(self._config, self._name)
        proofs, samples = Kept(self.folder / "proofs.jsonl", Proven), Kept(self.folder / "samples.jsonl", Sample)
        try:
            proven, unproven, masked = self._prove(problems, proofs)
            keys = self._keys(proven)
            masked += self._examine(keys, samples)
        finally:
            proofs.close()
            samples.close()
        found = [samples.known[key] for key in keys if key in samples.known]
        self._publish(proven, found)
        return summed_up(
            self._name,
            self._model,
            [problem.id for problem in proven],
            found,
            masked=masked,
            unproven=unproven,
            settings=self._settings(),
            seed=self._seed,
        )

    def _prove(self, problems: Sequence[Problem], proofs: Kept[Proven]) -> tuple[list[Problem], Counter[str], Counter[str]]:
        """(the problems whose own solution passes here, why others are left out, boxes that failed).

        What does not pass is tried again each time: a missing library may have come.
        """
        wanted = {problem.content_hash(): problem for problem in problems if isinstance(problem.exam, UnitTests)}
        unproven, masked = Counter[str](), Counter[str]()
        if not wanted:
            return list(problems), unproven, masked
        todo = [problem for key, problem in wanted.items() if key not in proofs.known]
        with self._progress.phase("prove", f"{self._name}: {len(wanted)} problems, each by its own solution") as phase:
            phase.total(len(wanted), done=len(wanted) - len(todo), unit="problems")
            for proof in self._pool.prove(todo):
                if proof.problem is not None:
                    proofs.add(proof)
                elif proof.masked:
                    masked[f"not proven: {proof.masked}"] += 1
                else:
                    unproven[proof.refused] += 1
                phase.advance(now=f"{unproven.total()} do not pass here" if unproven else None)
            proven = [known.problem for key in wanted if (known := proofs.known.get(key)) and known.problem]
            phase.result(f"{len(proven)} of {len(problems)} problems can be graded here")
        return proven, unproven, masked

    def _examine(self, keys: dict[str, Assigned], samples: Kept[Sample]) -> Counter[str]:
        """What was lost to infrastructure, by reason; everything else is in `samples` then."""
        todo = [assigned for key, assigned in keys.items() if key not in samples.known]
        masked: Counter[str] = Counter()
        with self._progress.phase("examine", f"{self._name}: {len(keys)} samples of {self._model}") as phase:
            phase.total(len(keys), done=len(keys) - len(todo), unit="samples")
            good = 0
            for done, sample in enumerate(self._pool.examine(todo), 1):
                if sample.masked:
                    masked[sample.masked] += 1
                    stop_if_sick(done, masked, "samples")
                else:
                    samples.add(sample)
                    good += bool(sample.score and sample.score.passed)
                phase.advance(now=f"{good} right" + (f", {sum(masked.values())} masked" if masked else ""))
            phase.result(
                f"{len(todo) - sum(masked.values())} examined now, {len(keys) - len(todo)} from before, {sum(masked.values())} masked"
            )
        return masked

    def _keys(self, problems: Sequence[Problem]) -> dict[str, Assigned]:
        """What there is to examine, by key, all first samples first."""
        settings = self._settings()
        found: dict[str, Assigned] = {}
        for sample in range(self._config.samples):
            for problem in problems:
                seed = self._seed * 1000 + sample
                body = json.dumps([problem.content_hash(), self._model, settings, sample, seed], sort_keys=True)
                key = hashlib.sha256(body.encode()).hexdigest()
                found[key] = Assigned(key=key, problem=problem, sample=sample, seed=seed)
        return found

    def _settings(self) -> dict[str, str]:
        config = self._config
        asked: dict[str, Any] = {
            "temperature": config.temperature,
            "max_answer_tokens": config.max_answer_tokens,
            "prompt_chars": config.prompt_chars,
            "extra": config.extra,
            "seed": self._seed,
        }
        return {name: json.dumps(value, sort_keys=True) for name, value in asked.items() if value not in (None, {})}

    def _publish(self, problems: Sequence[Problem], samples: Sequence[Sample]) -> None:
        """The file that the suite's published harness reads."""
        by_problem: dict[str, list[Sample]] = {problem.id: [] for problem in problems}
        for sample in samples:
            by_problem[sample.problem].append(sample)
        suite = SUITES[self._name]
        answers = [(problem, by_problem[problem.id]) for problem in problems if by_problem[problem.id]]
        atomic.write_bytes(self.folder / suite.file, suite.published(answers).encode("utf-8", "replace"))
