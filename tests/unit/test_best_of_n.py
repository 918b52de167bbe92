"""What choosing by score is worth, against numbers worked by hand and against all subsets."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.evals.best_of_n import Answer, best_of_n, calibration, chosen_right
from forge.records import Outcome, Trajectory

ANSWERS = st.lists(st.builds(Answer, score=st.sampled_from((0.1, 0.4, 0.4, 0.9)), right=st.booleans()), min_size=1, max_size=6)


def _trajectory(task: str, sample: int, score: float | None, outcome: Outcome) -> Trajectory:
    return Trajectory(
        id=f"{task}{sample}", task_id=task, repo="r", round=2, step="best-of-n", sample=sample, seed=0, temperature=0.8, turns=(),
        outcome=outcome, review_score=score,
    )  # fmt: skip


def test_the_best_scored_of_two_is_chosen() -> None:
    answers = [Answer(score=0.9, right=True), Answer(score=0.2, right=False), Answer(score=0.1, right=True)]
    assert chosen_right(answers, 1) == pytest.approx(2 / 3)
    assert chosen_right(answers, 2) == pytest.approx(2 / 3)  # {.9 .2} right, {.9 .1} right, {.2 .1} wrong
    assert chosen_right(answers, 3) == 1.0


@given(ANSWERS, st.integers(1, 6))
def test_the_formula_equals_going_through_all_subsets(answers: list[Answer], k: int) -> None:
    k = min(k, len(answers))
    shares = []
    for subset in combinations(answers, k):
        best = [a for a in subset if a.score == max(b.score for b in subset)]
        shares.append(sum(a.right for a in best) / len(best))
    assert chosen_right(answers, k) == pytest.approx(sum(shares) / len(shares))


def test_the_curve_lies_between_one_answer_and_any_answer() -> None:
    found = best_of_n(
        [
            _trajectory("a", 0, 0.9, Outcome.SOLVED), _trajectory("a", 1, 0.3, Outcome.FAILED),
            _trajectory("b", 0, 0.2, Outcome.SOLVED), _trajectory("b", 1, None, Outcome.AGENT_ERROR),
            _trajectory("c", 0, 0.8, Outcome.FAILED), _trajectory("c", 1, 0.1, Outcome.SOLVED),
            _trajectory("d", 0, 0.5, Outcome.INFRA_ERROR), _trajectory("d", 1, 0.5, Outcome.SOLVED),
        ]
    )  # fmt: skip
    assert found is not None and (found.tasks, found.n) == (3, 2)
    assert found.any == pytest.approx((0.5, 1.0)) and found.best == pytest.approx((0.5, 2 / 3))
    assert found.auc == pytest.approx(5 / 9)
    assert all(interval.low <= best <= interval.high for best, interval in zip(found.best, found.best_ci95, strict=True))


def test_one_answer_a_task_is_no_curve() -> None:
    assert best_of_n([_trajectory("a", 0, 0.9, Outcome.SOLVED)]) is None
    assert best_of_n([]) is None


def test_a_judge_that_says_what_happens_is_calibrated_and_one_that_boasts_is_not() -> None:
    honest = [Answer(score=0.75, right=n < 3) for n in range(4)]
    boasting = [Answer(score=0.95, right=n < 1) for n in range(4)]
    bins = calibration([*honest, *boasting])
    assert [(b.answers, b.score, b.right) for b in bins] == [(4, 0.75, 0.75), (4, pytest.approx(0.95), 0.25)]
