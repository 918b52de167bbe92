"""What is left out of a prompt that is too long, in which order, and when nothing is left to leave out."""

from __future__ import annotations

import pytest

from forge.errors import StageError
from forge.rollouts.room import Shown, fitted
from forge.stages.source.symbols import symbols_of
from forge.stages.stage import Hunk, Situation

SYMBOLS = tuple(symbols_of("a.py", "def f():\n    return 1\n\n\ndef g():\n    return 2\n"))
HUNKS = tuple(Hunk(path="a.py", symbol="a.py::f", old=(old,), new=("x",)) for old in ("first", "second"))


def _tokens(situation: Situation) -> Shown:
    """Ten tokens, and ten for each thing that is shown."""
    things = len(situation.rejected) + len(situation.candidates) + len(situation.symbols) + len(situation.hunks) + bool(situation.tests)
    return Shown(situation, (), tuple(range(10 + 10 * things)))


def _fitted(stage: str, context: int | None, answer: int = 5, **parts: object) -> Situation:
    return fitted(stage, Situation.model_validate({"statement": "s", **parts}), _tokens, answer=answer, context=context).situation


def test_the_oldest_rejected_edit_goes_first_then_the_symbol_ranked_last() -> None:
    parts = {"symbols": SYMBOLS, "rejected": HUNKS}
    assert (
        _fitted("planning", None, **parts) == _fitted("planning", 55, **parts) == Situation(statement="s", symbols=SYMBOLS, rejected=HUNKS)
    )
    assert _fitted("planning", 54, **parts).rejected == HUNKS[1:]
    assert _fitted("planning", 44, **parts) == Situation(statement="s", symbols=SYMBOLS)
    assert _fitted("planning", 34, **parts) == Situation(statement="s", symbols=SYMBOLS[:1])


def test_analysis_keeps_the_best_candidates_and_generation_every_symbol_of_its_plan() -> None:
    assert _fitted("analysis", 25, candidates=SYMBOLS).candidates == SYMBOLS[:1]
    assert _fitted("generation", 34, symbols=SYMBOLS, rejected=HUNKS) == Situation(statement="s", symbols=SYMBOLS)


def test_review_leaves_out_what_tests_said_and_then_the_sources_but_never_the_edits() -> None:
    parts = {"symbols": SYMBOLS, "hunks": HUNKS, "tests": "failed"}
    assert _fitted("review", 55, **parts) == Situation(statement="s", symbols=SYMBOLS, hunks=HUNKS)
    assert _fitted("review", 35, **parts) == Situation(statement="s", hunks=HUNKS)


def test_an_answer_may_have_less_room_than_its_longest_but_not_none() -> None:
    assert _fitted("generation", 21, symbols=SYMBOLS[:1]).symbols == SYMBOLS[:1]
    with pytest.raises(StageError, match="the prompt of generation takes 20 tokens, and its base has room for 20"):
        _fitted("generation", 20, symbols=SYMBOLS[:1])
