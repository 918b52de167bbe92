"""Several answers a task and a judge that chooses: what the choice is worth, and how far its scores can be believed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import comb

from forge.evals.intervals import bootstrap_mean
from forge.evals.pass_at_k import pass_at_k
from forge.evals.stage_scores import auc
from forge.records import Interval, Outcome, Record, Trajectory

BINS = 10


class Answer(Record):
    """One graded answer: the judge's score, and whether it is right."""

    score: float
    right: bool


class Bin(Record):
    """Answers whose scores lie in one tenth: how many, their mean score, and the share that is right."""

    answers: int
    score: float
    right: float


class BestOfN(Record):
    """Means over tasks for k = 1 … n; `best` chooses by score among k, `any` counts a task when one of k is right."""

    tasks: int
    n: int
    any: tuple[float, ...]
    """pass@k, unbiased (arXiv 2107.03374)."""
    best: tuple[float, ...]
    best_ci95: tuple[Interval, ...]
    """Bootstrap over tasks."""
    auc: float | None
    """Chance that a right answer scores above a wrong one, over all tasks."""
    brier: float
    """Mean squared distance of the score from 0 or 1."""
    calibration_error: float
    """Mean distance of score and share right over tenths, weighted by answers (ECE)."""
    bins: tuple[Bin, ...]


def best_of_n(trajectories: Iterable[Trajectory], *, seed: int = 0) -> BestOfN | None:
    """The curve over tasks that have the most graded answers; an agent error is a wrong answer that nobody would choose.

    Infrastructure errors are masked. `None` when no task has two answers.
    """
    by_task: dict[str, list[Answer]] = defaultdict(list)
    for item in trajectories:
        if item.outcome is not Outcome.INFRA_ERROR:
            score = item.review_score if item.review_score is not None else 0.0
            by_task[item.task_id].append(Answer(score=score, right=item.outcome is Outcome.SOLVED))
    n = max(map(len, by_task.values()), default=0)
    whole = {task: answers for task, answers in by_task.items() if len(answers) == n}
    if n < 2:
        return None
    ks = range(1, n + 1)
    best = [[chosen_right(answers, k) for answers in whole.values()] for k in ks]
    answers = [answer for found in whole.values() for answer in found]
    bins = calibration(answers)
    return BestOfN(
        tasks=len(whole),
        n=n,
        any=tuple(_mean([pass_at_k(n, sum(a.right for a in found), k) for found in whole.values()]) for k in ks),
        best=tuple(_mean(values) for values in best),
        best_ci95=tuple(bootstrap_mean(values, seed=seed) for values in best),
        auc=auc([a.score for a in answers if a.right], [a.score for a in answers if not a.right]),
        brier=_mean([(a.score - a.right) ** 2 for a in answers]),
        calibration_error=sum(b.answers * abs(b.score - b.right) for b in bins) / len(answers),
        bins=bins,
    )


def chosen_right(answers: Sequence[Answer], k: int) -> float:
    """Chance that the best-scored of k answers drawn without replacement is right; among equal scores one is drawn."""
    by_score: dict[float, list[bool]] = defaultdict(list)
    for answer in answers:
        by_score[answer.score].append(answer.right)
    all_subsets, worse, found = comb(len(answers), k), 0, 0.0
    for _, right in sorted(by_score.items()):
        # Subsets whose best score is this one: some of these answers, the others from those below.
        upto = worse + len(right)
        found += (comb(upto, k) - comb(worse, k)) / all_subsets * sum(right) / len(right)
        worse = upto
    return found


def calibration(answers: Iterable[Answer]) -> tuple[Bin, ...]:
    """Answers by tenth of their score, empty tenths left out."""
    tenths: Mapping[int, list[Answer]] = defaultdict(list)
    for answer in answers:
        tenths[min(BINS - 1, int(answer.score * BINS))].append(answer)
    return tuple(
        Bin(answers=len(found), score=_mean([a.score for a in found]), right=_mean([float(a.right) for a in found]))
        for _, found in sorted(tenths.items())
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
