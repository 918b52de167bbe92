"""The suites by name: how a row becomes a problem, where the answer is in a text, and the file that the published harness reads.

Adding a suite is adding an entry.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from forge.errors import ConfigError
from forge.evals.suites import bigcodebench, crosscodeeval, humaneval, livecodebench, mbpp
from forge.evals.suites.problem import Problem, Sample
from forge.evals.suites.row import Row, RowError

Answers = Sequence[tuple[Problem, Sequence[Sample]]]
"""Each problem with the samples of it that there are."""


@dataclass(frozen=True)
class Hub:
    """Where a set is on the Hugging Face hub."""

    name: str
    config: str = ""
    split: str = "test"


@dataclass(frozen=True)
class Suite:
    """One suite. `parse` raises `RowError`; `seconds` is the wall clock of one examination; `file` is what `published` fills."""

    name: str
    parse: Callable[[Row], Problem]
    answer: Callable[[Problem, str], str]
    seconds: float
    hub: Hub | None
    file: str
    published: Callable[[Answers], str]
    counts: Callable[[Row], bool] = lambda _: True
    """Whether a row is of the part that is evaluated on."""


def lines(fields: Callable[[Problem, Sample], Mapping[str, Any]]) -> Callable[[Answers], str]:
    """A file with an object a sample, one a line."""

    def written(answers: Answers) -> str:
        return "".join(json.dumps(fields(problem, sample)) + "\n" for problem, samples in answers for sample in samples)

    return written


def _completion(problem: Problem, sample: Sample) -> Mapping[str, Any]:
    return {"task_id": problem.id, "completion": humaneval.completion(problem, sample.answer)}


def _solution(problem: Problem, sample: Sample) -> Mapping[str, Any]:
    return {"task_id": problem.id, "solution": sample.answer}


def _prediction(problem: Problem, sample: Sample) -> Mapping[str, Any]:
    return {"task_id": problem.id, "pred": sample.answer}


def _generations(answers: Answers) -> str:
    """bigcode-evaluation-harness's `--load_generations_path`: a list of programs a problem, in the order of the set."""
    return json.dumps([[sample.answer for sample in samples] for _, samples in answers])


def _code_lists(answers: Answers) -> str:
    """LiveCodeBench's `--custom_output_file`."""
    return json.dumps(
        [{"question_id": problem.id, "code_list": [sample.answer for sample in samples]} for problem, samples in answers], indent=1
    )


SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            "humaneval",
            humaneval.parse,
            humaneval.answer,
            humaneval.SECONDS,
            Hub("openai/openai_humaneval"),
            "completions.jsonl",
            lines(_completion),
        ),
        Suite(
            "humanevalfix",
            humaneval.parse_fix,
            humaneval.answer,
            humaneval.FIX_SECONDS,
            Hub("bigcode/humanevalpack", "python"),
            "generations.json",
            _generations,
        ),
        Suite(
            "mbpp",
            mbpp.parse,
            mbpp.answer,
            mbpp.SECONDS,
            Hub("google-research-datasets/mbpp", "full"),
            "solutions.jsonl",
            lines(_solution),
            mbpp.is_test,
        ),
        Suite(
            "bigcodebench",
            bigcodebench.parse,
            bigcodebench.answer,
            bigcodebench.SECONDS,
            Hub("bigcode/bigcodebench", split="v0.1.4"),
            "solutions.jsonl",
            lines(_solution),
        ),
        Suite(
            "bigcodebench-complete",
            bigcodebench.parse_complete,
            bigcodebench.answer,
            bigcodebench.SECONDS,
            Hub("bigcode/bigcodebench", split="v0.1.4"),
            "solutions.jsonl",
            lines(_solution),
        ),
        Suite(
            "livecodebench",
            livecodebench.parse,
            livecodebench.answer,
            livecodebench.SECONDS,
            None,
            "code_lists.json",
            _code_lists,
        ),
        Suite("crosscodeeval", crosscodeeval.parse, crosscodeeval.answer, 0.0, None, "prediction.jsonl", lines(_prediction)),
    )
}


def problems(suite: Suite, rows: Iterable[Row], source: str) -> list[Problem]:
    """The problems of all `rows`; raises `ConfigError` for the first that is none of the suite's, and when there is no row.

    One row in another format makes a score that is none, so nothing but other splits is left out.
    """
    found: dict[str, Problem] = {}
    for number, row in enumerate(rows, 1):
        if not suite.counts(row):
            continue
        try:
            problem = suite.parse(row)
        except (RowError, ValidationError) as error:
            said = str(error).splitlines()[0]
            raise ConfigError(f"row {number} of {source} is no problem of {suite.name}: {said}") from error
        if problem.id in found:
            raise ConfigError(f"{source} has {problem.id} twice; give one version of the set")
        found[problem.id] = problem
    if not found:
        raise ConfigError(f"{source} holds no row that {suite.name} evaluates on")
    return list(found.values())
