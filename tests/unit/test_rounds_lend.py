"""One success, several tasks: which answers may be lent, and which may not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from forge.records import FileEdit, Outcome, Task, Trajectory, Turn
from forge.rounds.lend import lent

RIGHT = "def add(a, b):\n    return a + b\n"
MINUS = "def add(a, b):\n    return a - b\n"
NONE = "def add(a, b):\n    return None\n"
PATH, KEY = "pkg/calc.py", "pkg/calc.py::add"


def _task(name: str, broken: str, **changes: object) -> Task:
    values = {
        "id": name, "repo": "r", "base_commit": "b", "origin": "injected", "statement": "s", "tree": "h", "tests": (),
        "setup": (FileEdit(path=PATH, content=broken),), "gold": (FileEdit(path=PATH, content=RIGHT),), "fail_to_pass": ("x",),
        "pass_to_pass": ("y",), "files": (PATH,), "side": "train",
    }  # fmt: skip
    return Task.model_validate(values | changes)


def _answer(body: str) -> str:
    return f"1\n<<<<<<< SEARCH\n...\n=======\n{body}>>>>>>> REPLACE"


def _trajectory(task: str, outcome: Outcome, body: str, *, planned: str = KEY, sample: int = 0) -> Trajectory:
    shared = {"model_id": "m", "messages": (), "logprobs": (0.0,)}
    plan = Turn(stage="planning", text="edit 1", subject=planned, prompt_ids=(1,), completion_ids=(2,), **shared)
    prompt = (100 + sum(map(ord, task)),)
    answer = Turn(stage="generation", text=_answer(body), prompt_ids=prompt, completion_ids=(len(body), 9), **shared)
    return Trajectory(
        id=f"{task}-{sample}", task_id=task, repo="r", round=2, step="collect-1", sample=sample, seed=0, temperature=1.0,
        turns=(plan, answer), edits=(FileEdit(path=PATH, content=body),), outcome=outcome,
    )  # fmt: skip


def _proof(task: Task, edits: Sequence[FileEdit]) -> str:
    return repr((task.tree, sorted((e.path, e.content) for e in edits), sorted((*task.fail_to_pass, *task.pass_to_pass))))


def _lent(*trajectories: Trajectory, **tasks: Task) -> list[tuple[str, str]]:
    rows = lent(trajectories, tasks, _proof, lambda task: {edit.path: edit.content or "" for edit in task.setup})
    return [(row.lineage.task_id or "", row.completion) for row in rows]


def test_an_answer_is_lent_to_an_unsolved_task_of_the_same_function_under_that_tasks_own_prompt() -> None:
    tasks = {"a": _task("a", MINUS), "b": _task("b", NONE)}
    found = [_trajectory("a", Outcome.SOLVED, RIGHT), _trajectory("b", Outcome.FAILED, MINUS)]
    (row,) = lent(found, tasks, _proof, lambda task: {edit.path: edit.content or "" for edit in task.setup})
    assert (row.lineage.task_id, row.lineage.trajectory_id, row.lineage.lender_id) == ("b", "b-0", "a-0")
    assert row.prompt_ids == found[1].turns[1].prompt_ids
    assert row.completion_ids == found[0].turns[1].completion_ids


def test_what_was_handed_in_is_lent_and_not_what_was_tried_after_it() -> None:
    first, later = _trajectory("a", Outcome.SOLVED, RIGHT), _trajectory("a", Outcome.SOLVED, NONE)
    review = first.turns[0].model_copy(update={"stage": "review", "score": 0.4})
    tried = [turn.model_copy(update={"attempt": 1}) for turn in (*later.turns, review.model_copy(update={"score": 0.1}))]
    success = first.model_copy(update={"turns": (*first.turns, review, *tried), "repairs": 1})
    tasks = {"a": _task("a", MINUS), "b": _task("b", NONE)}
    assert _lent(success, _trajectory("b", Outcome.FAILED, MINUS), **tasks) == [("b", _answer(RIGHT))]


def test_a_solved_task_borrows_nothing_and_without_a_success_there_is_nothing_to_lend() -> None:
    tasks = {"a": _task("a", MINUS), "b": _task("b", NONE)}
    assert _lent(_trajectory("a", Outcome.SOLVED, RIGHT), _trajectory("b", Outcome.SOLVED, RIGHT), **tasks) == []
    assert _lent(_trajectory("a", Outcome.FAILED, MINUS), _trajectory("b", Outcome.FAILED, MINUS), **tasks) == []


@pytest.mark.parametrize(
    "changes",
    [{"fail_to_pass": ("other",)}, {"tree": "another"}, {"files": ("pkg/other.py",)}],
    ids=["other tests", "another tree", "other files"],
)
def test_an_answer_that_was_not_proven_there_is_not_lent(changes: dict[str, object]) -> None:
    tasks = {"a": _task("a", MINUS), "b": _task("b", NONE, **changes)}
    assert _lent(_trajectory("a", Outcome.SOLVED, RIGHT), _trajectory("b", Outcome.FAILED, MINUS), **tasks) == []


def test_an_answer_that_gives_another_file_there_is_not_lent() -> None:
    beside = "\n\ndef sub(a, b):\n    return a\n"
    tasks = {"a": _task("a", MINUS), "b": _task("b", NONE + beside)}
    assert _lent(_trajectory("a", Outcome.SOLVED, RIGHT), _trajectory("b", Outcome.FAILED, MINUS), **tasks) == []


def test_a_prompt_about_another_symbol_borrows_nothing() -> None:
    tasks = {"a": _task("a", MINUS), "b": _task("b", NONE)}
    wrong = _trajectory("b", Outcome.FAILED, MINUS, planned="pkg/calc.py::sub")
    assert _lent(_trajectory("a", Outcome.SOLVED, RIGHT), wrong, **tasks) == []


def test_of_several_right_answers_the_nearest_is_lent() -> None:
    renamed = "def add(x, y):\n    total = x\n    return total + y\n"
    tasks = {"a": _task("a", MINUS), "b": _task("b", NONE)}
    found = [_trajectory("a", Outcome.SOLVED, renamed), _trajectory("a", Outcome.SOLVED, RIGHT, sample=1)]
    assert _lent(*found, _trajectory("b", Outcome.FAILED, MINUS), **tasks) == [("b", _answer(RIGHT))]


def test_an_answer_is_lent_under_the_first_prompt_not_the_one_that_mended_another() -> None:
    tasks = {"a": _task("a", MINUS), "b": _task("b", NONE)}
    solved, failed = _trajectory("a", Outcome.SOLVED, RIGHT), _trajectory("b", Outcome.FAILED, MINUS)
    refused = failed.turns[1].model_copy(update={"parsed": False, "text": "what?"})
    mended = failed.turns[1].model_copy(update={"prompt_ids": (1, 2, 3)})
    failed = failed.model_copy(update={"turns": (failed.turns[0], refused, mended)})
    (row,) = lent([solved, failed], tasks, _proof, lambda task: {edit.path: edit.content or "" for edit in task.setup})
    assert row.prompt_ids == refused.prompt_ids and row.completion_ids == solved.turns[1].completion_ids
