"""Solved against failed answers to one prompt."""

from __future__ import annotations

from forge.records import FileEdit, Outcome, Task, Trajectory, Turn
from forge.rounds.pairs import preferences

TASK = Task(
    id="t", repo="r", base_commit="b", origin="injected", statement="s", tree="h", gold=(FileEdit(path="a.py", content=""),), tests=(),
    fail_to_pass=("x",), pass_to_pass=(), files=("a.py",), side="train",
)  # fmt: skip


def _turn(stage: str, prompt: tuple[int, ...], answer: tuple[int, ...], attempt: int = 0, *, parsed: bool = True) -> Turn:
    return Turn(
        stage=stage, model_id="m", attempt=attempt, messages=(), text=f"{answer}", prompt_ids=prompt, completion_ids=answer,
        logprobs=(0.0,) * len(answer), parsed=parsed, choice_ids=(7, 8, 9) if stage == "review" else (),
    )  # fmt: skip


def _trajectory(name: str, outcome: Outcome, *turns: Turn, task: str = "t") -> Trajectory:
    return Trajectory(
        id=name, task_id=task, repo="r", round=2, step="collect-1", sample=0, seed=0, temperature=1.0, turns=turns, outcome=outcome
    )


def _found(*trajectories: Trajectory, keep: int = 2) -> dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    tasks = {"t": TASK, "u": TASK.model_copy(update={"id": "u"})}
    rows = preferences(trajectories, tasks, keep_per_task=keep)
    return {stage: [(row.chosen_ids, row.rejected_ids) for row in found] for stage, found in rows.items()}


def test_a_solved_and_a_failed_answer_to_the_same_prompt_are_a_pair() -> None:
    solved = _trajectory("a", Outcome.SOLVED, _turn("planning", (1,), (5, 6)), _turn("generation", (2,), (3, 4)))
    failed = _trajectory("b", Outcome.FAILED, _turn("planning", (1,), (5, 6)), _turn("generation", (2,), (3, 9)))
    assert _found(solved, failed) == {"generation": [((3, 4), (3, 9))]}


def test_other_prompts_other_tasks_judgements_and_infrastructure_errors_make_no_pair() -> None:
    solved = _trajectory("a", Outcome.SOLVED, _turn("generation", (2,), (3, 4)), _turn("review", (6,), (7,)))
    others = (
        _trajectory("b", Outcome.FAILED, _turn("generation", (1,), (3, 9)), _turn("review", (6,), (8,))),
        _trajectory("c", Outcome.FAILED, _turn("generation", (2,), (3, 9)), task="u"),
        _trajectory("d", Outcome.INFRA_ERROR, _turn("generation", (2,), (3, 9))),
    )
    assert _found(solved, *others) == {}


def test_an_answer_that_solved_the_task_elsewhere_is_never_the_worse_one() -> None:
    solved = _trajectory("a", Outcome.SOLVED, _turn("generation", (2,), (3, 4)))
    also = _trajectory("b", Outcome.SOLVED, _turn("generation", (2,), (3, 5)))
    failed_for_another_reason = _trajectory("c", Outcome.FAILED, _turn("generation", (2,), (3, 5)))
    assert _found(solved, also, failed_for_another_reason) == {}


def test_of_a_success_only_what_led_to_the_end_is_preferred() -> None:
    solved = _trajectory("a", Outcome.SOLVED, _turn("generation", (2,), (3, 3)), _turn("generation", (4,), (3, 4), attempt=1))
    failed = _trajectory("b", Outcome.FAILED, _turn("generation", (2,), (3, 9)), _turn("generation", (4,), (3, 8), attempt=1))
    assert _found(solved, failed) == {"generation": [((3, 4), (3, 8))]}


def test_answers_of_very_different_length_are_no_pair_and_lengths_are_balanced() -> None:
    solved = _trajectory("a", Outcome.SOLVED, _turn("generation", (2,), (3,) * 10))
    assert _found(solved, _trajectory("b", Outcome.FAILED, _turn("generation", (2,), (4,) * 30))) == {}
    longer = []
    for n in range(10, 13):
        longer.append(_trajectory(f"a{n}", Outcome.SOLVED, _turn("generation", (n,), (3, 3, 3))))
        longer.append(_trajectory(f"b{n}", Outcome.FAILED, _turn("generation", (n,), (4, 4))))
    shorter = (
        _trajectory("c", Outcome.SOLVED, _turn("generation", (20,), (3, 3)), task="u"),
        _trajectory("d", Outcome.FAILED, _turn("generation", (20,), (4, 4, 4)), task="u"),
    )
    found = _found(*longer, *shorter, keep=9)["generation"]
    assert sorted(len(chosen) - len(rejected) for chosen, rejected in found) == [-1, 1]


def test_at_most_so_many_pairs_a_task_and_no_answer_twice() -> None:
    solved = [_trajectory(f"a{n}", Outcome.SOLVED, _turn("generation", (2,), (3, n))) for n in range(4)]
    failed = [_trajectory(f"b{n}", Outcome.FAILED, _turn("generation", (2,), (4, n))) for n in range(4)]
    found = _found(*solved, *failed, keep=3)["generation"]
    assert len(found) == len({chosen for chosen, _ in found}) == len({rejected for _, rejected in found}) == 3
