"""A score for each row by a teacher, and how far it can be trusted.

A judge is calibrated on rows that a person has labelled, as ARES does (arXiv 2311.09476): agreement with its interval, and
the share of good rows in the whole set by prediction-powered inference (arXiv 2301.09633), which corrects the judge's
share by the error that it makes on the labelled rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from forge.errors import TeacherError
from forge.mining.enrich.question import question
from forge.mining.row import Row
from forge.records import Interval, Record
from forge.seams import Teacher
from forge.teacher.prompt import tagged
from forge.teacher.spent import Spent, spent_on

GOOD = 0.5
"""Scores from here on say that a row is good: grades 3 to 5."""
_Z95 = 1.959964


class Judged(Record):
    """A score between 0 (useless) and 1 (excellent), and the judge's reason."""

    score: float
    reason: str
    spent: Spent


class Calibration(Record):
    """How a judge's verdicts compare with a person's labels."""

    rows: int
    agreement: float
    agreement_ci95: Interval
    """Wilson's interval."""
    kappa: float
    """Cohen's: agreement beyond chance."""
    good_share: float
    """Share of good rows in the whole set, corrected by what the judge gets wrong on the labelled ones."""
    good_share_ci95: Interval


async def judgement_of(teacher: Teacher, row: Row) -> Judged:
    """The teacher's verdict on a row. Raises `TeacherError` when it gives no grade."""
    answer = await teacher.ask(question("judgement", row))
    grade = (tagged(answer.text, "grade") or "").strip()
    if grade not in ("1", "2", "3", "4", "5"):
        raise TeacherError(f"the teacher's grade is '{grade[:40]}', not a number from 1 to 5")
    return Judged(score=(int(grade) - 1) / 4, reason=tagged(answer.text, "reason") or "", spent=spent_on(answer))


def calibrate(scores: Mapping[str, float], labels: Mapping[str, bool]) -> Calibration:
    """Of the judge's `scores` by row id against a person's `labels`. Raises `TeacherError` when fewer than two rows have both."""
    ids = sorted(scores.keys() & labels.keys())
    if len(ids) < 2:
        raise TeacherError(f"{len(ids)} of {len(labels)} labelled rows have a score; label rows of this very set, about 150 of them")
    said = [scores[id_] >= GOOD for id_ in ids]
    true = [labels[id_] for id_ in ids]
    agreed = sum(a == b for a, b in zip(said, true, strict=True)) / len(ids)
    share, interval = _powered([scores[id_] >= GOOD for id_ in sorted(scores.keys() - labels.keys())], said, true)
    return Calibration(
        rows=len(ids),
        agreement=agreed,
        agreement_ci95=_wilson(agreed, len(ids)),
        kappa=_kappa(said, true, agreed),
        good_share=share,
        good_share_ci95=interval,
    )


def _kappa(said: Sequence[bool], true: Sequence[bool], agreed: float) -> float:
    left, right = sum(said) / len(said), sum(true) / len(true)
    chance = left * right + (1 - left) * (1 - right)
    return 1.0 if chance == 1 else (agreed - chance) / (1 - chance)


def _powered(others: Sequence[bool], said: Sequence[bool], true: Sequence[bool]) -> tuple[float, Interval]:
    """Share of good rows and its interval: the judge's share where nobody labelled, less its mean error where somebody did."""
    errors = [int(a) - int(b) for a, b in zip(said, true, strict=True)]
    unlabelled = [int(verdict) for verdict in others] or [int(verdict) for verdict in said]
    share = sum(unlabelled) / len(unlabelled) - sum(errors) / len(errors)
    spread = math.sqrt(_variance(unlabelled) / len(unlabelled) + _variance(errors) / len(errors))
    low, high = share - _Z95 * spread, share + _Z95 * spread
    return min(1.0, max(0.0, share)), Interval(low=max(0.0, low), high=min(1.0, high))


def _variance(values: Sequence[int]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)


def _wilson(share: float, count: int) -> Interval:
    centre = share + _Z95**2 / (2 * count)
    margin = _Z95 * math.sqrt(share * (1 - share) / count + _Z95**2 / (4 * count**2))
    scale = 1 + _Z95**2 / count
    # At the ends the bound is the share itself, which rounding would miss.
    return Interval(low=min(share, max(0.0, (centre - margin) / scale)), high=max(share, min(1.0, (centre + margin) / scale)))
