"""Where a gain came from."""

from __future__ import annotations

import pytest

from forge.evals.levers import levers
from forge.evals.pages.page import page
from tests.unit.test_report import realistic


def _solved(first: int, last: int, total: int = 60) -> dict[str, bool]:
    return {f"t{i}": first <= i < last for i in range(total)}


def test_two_levers_that_help_each_and_more_together_are_told_apart() -> None:
    found = levers(_solved(0, 10), _solved(0, 25), _solved(0, 20), _solved(0, 50))
    assert (found.neither.solved, found.weights.solved, found.settings.solved, found.both.solved) == (10, 25, 20, 50)
    assert found.together == pytest.approx((40 - 15 - 10) / 60)
    assert found.verdict == "weights and settings each help alone; both together are better than either alone"
    assert found.weights.against_neither is not None and found.weights.against_neither.gained == 15


def test_a_lever_that_does_nothing_is_not_praised() -> None:
    found = levers(_solved(0, 10), _solved(0, 30), _solved(0, 11), _solved(0, 31))
    assert (
        found.verdict
        == "the weights help alone, the settings are not proven to; both together are not proven better than the weights alone"
    )
    nothing = levers(_solved(0, 10), _solved(0, 11), _solved(0, 11), _solved(0, 12))
    assert nothing.verdict.startswith("neither the weights nor the settings alone are proven to help")


def test_only_tasks_that_all_four_have_count() -> None:
    found = levers(_solved(0, 10, 20), _solved(0, 10), _solved(0, 10), _solved(0, 40))
    assert (found.neither.tasks, found.both.solved) == (20, 20)
    with pytest.raises(ValueError, match="no task in common"):
        levers({}, _solved(0, 1), _solved(0, 1), _solved(0, 1))


def test_the_report_tells_where_the_gain_came_from_and_says_nothing_where_one_lever_was_pulled() -> None:
    run = realistic()
    assert "Where the gain came from" not in page(run)
    found = levers(_solved(0, 10), _solved(0, 25), _solved(0, 20), _solved(0, 50))
    last = run.rounds[-1].model_copy(update={"agent": {"retry_temperature": 0.8}})
    told = page(run.model_copy(update={"levers": found, "rounds": (*run.rounds[:-1], last)}))
    assert "Weights and settings each help alone" in told and "retry_temperature=0.8" in told and "25 points more than the sum" in told
    less = found.model_copy(update={"together": -0.06})
    assert "6 points less than the sum" in page(run.model_copy(update={"levers": less, "rounds": (*run.rounds[:-1], last)}))
