"""What teaches the next round, and when a round is promoted."""

from __future__ import annotations

from typing import Any

import pytest

from forge.records import Example, FileEdit, Lineage, Message, Outcome, Task, Trajectory, Turn, Verdict
from forge.rounds.gate import Regression, decide, look_again
from forge.rounds.past import Tally
from forge.rounds.select import leaked, select, with_replay


def _task(name: str, side: str = "train", path: str = "a/b.py") -> Task:
    return Task(
        id=name, repo="r", base_commit="b", origin="injected", statement="s", tree="h", gold=(FileEdit(path=path, content=""),), tests=(),
        fail_to_pass=("x",), pass_to_pass=(), files=(path,), side=side, commit=f"commit-of-{name}",
    )  # fmt: skip


def _trajectory(task: str, sample: int, outcome: Outcome, patch: str = "p", tokens: int = 3, repairs: int = 0, **more: Any) -> Trajectory:
    shared = {"model_id": "m", "messages": (), "text": "x", "prompt_ids": (1,), "logprobs": (0.0,)}
    plan = Turn(stage="planning", completion_ids=(2,) * tokens, **shared)
    review = Turn(stage="review", completion_ids=(7,), choice_ids=(7, 8, 9), **shared)
    return Trajectory(
        id=f"{task}-{sample}", task_id=task, **{"repo": "r", **more}, round=2, step="collect-1", sample=sample, seed=0, temperature=1.0,
        turns=(plan, review), patch="\n".join(f"+{line}" for line in patch.split()), outcome=outcome, repairs=repairs,
    )  # fmt: skip


def _row(text: str, commit: str | None = None, **lineage: object) -> Example:
    line = Lineage(repo="r", commit=commit, **lineage)  # type: ignore[arg-type]
    return Example(stage="planning", messages=(Message(role="user", content=text),), completion="x", lineage=line)


def test_at_most_two_distinct_successes_a_task_are_kept_short_ones_first() -> None:
    found = [
        _trajectory("t", 0, Outcome.SOLVED, "long", tokens=9),
        _trajectory("t", 1, Outcome.SOLVED, "short", tokens=1),
        _trajectory("t", 2, Outcome.SOLVED, "short", tokens=2),
        _trajectory("t", 3, Outcome.SOLVED, "middle", tokens=4),
        _trajectory("t", 4, Outcome.INFRA_ERROR),
    ]
    chosen = select(found, {"t": _task("t")}, keep_per_task=2)
    assert [len(row.completion_ids) for row in chosen.rows["planning"]] == [1, 4]
    assert (chosen.solved_tasks, chosen.kept) == (1, 2)
    counted = {reason: count for reason, count in chosen.dropped.items() if count}
    assert counted == {"like another success": 1, "over keep_per_task": 1, "infra_error": 1}


def test_failures_teach_review_alone_and_never_outnumber_successes() -> None:
    tasks = {name: _task(name) for name in "abc"}
    found = [_trajectory("a", 0, Outcome.SOLVED), *(_trajectory(name, 0, Outcome.FAILED) for name in "bc")]
    rows = select(found, tasks, keep_per_task=2).rows
    assert [row.completion for row in rows["review"]] == ["yes", "no"]
    assert len(rows["planning"]) == 1


def test_a_heldout_trajectory_is_refused_as_training_data() -> None:
    with pytest.raises(ValueError, match="not a training task"):
        select([_trajectory("t", 0, Outcome.SOLVED)], {"t": _task("t", "heldout")}, keep_per_task=2)


def test_replay_adds_the_share_asked_for_spread_over_commits_without_repeats() -> None:
    new = [_row(f"new {i}") for i in range(10)]
    earlier = [_row(f"old {i}", commit=f"c{i % 3}") for i in range(30)]
    mixed = with_replay(new, [*earlier, new[0]], 0.3, seed=0)
    assert mixed[:10] == new and len(mixed) == 13
    assert {row.lineage.commit for row in mixed[10:]} == {"c0", "c1", "c2"}
    assert with_replay(new, [], 0.5, seed=0) == new


@pytest.mark.parametrize(
    ("row", "found"),
    [
        (_row("harmless", commit="c", files=("z.py",)), []),
        (_row("x", task_id="h"), ["task h"]),
        (_row("x", commit="commit-of-h"), ["commit commit-of-h"]),
        (_row("x", files=("a/b.py",)), ["file a/b.py"]),
        (_row("look at a/b.py::f"), ["file a/b.py"]),
    ],
)
def test_leaks_of_heldout_tasks_are_found(row: Example, found: list[str]) -> None:
    assert leaked([row], [_task("h", "heldout")]) == found


def _results(solved: int, total: int = 100) -> dict[str, bool]:
    return {f"t{i}": i < solved for i in range(total)}


def test_gate_keeps_old_adapters_when_the_candidate_is_significantly_worse() -> None:
    gate = decide(_results(60), _results(40), 0.05, second_look=True)
    assert gate.choice == "keep" and gate.why.startswith("worse") and gate.figures["p"] < 0.05
    assert len(gate.lost) == 20


def test_gate_promotes_when_the_difference_is_noise_and_says_better_only_with_evidence() -> None:
    assert decide(_results(60), _results(58), 0.05).promote
    assert decide(_results(60), _results(61), 0.05, second_look=True).why.startswith("not worse")
    assert decide(_results(40), _results(60), 0.05, second_look=True).why.startswith("better")


def test_gate_asks_for_a_second_look_only_where_it_looks_worse_and_nothing_proves_it() -> None:
    doubt = decide(_results(60), _results(58), 0.05, second_look=True)
    assert doubt.choice == "doubt" and not doubt.promote and "t58, t59" in doubt.why
    assert decide(_results(60), _results(60), 0.05, second_look=True).choice == "promote"


def _tallies(solved: int, total: int = 100, of: int = 3) -> dict[str, Tally]:
    return {f"t{i}": Tally(solved=of if i < solved else 0, graded=of) for i in range(total)}


def test_a_second_look_promotes_what_is_as_good_and_keeps_the_old_when_it_still_looks_worse() -> None:
    assert look_again(_tallies(60), _tallies(60), 0.05).promote
    kept = look_again(_tallies(60), _tallies(57), 0.05)
    assert kept.choice == "keep" and kept.why.startswith("still looks worse: -3.0 points")
    assert look_again(_tallies(60), _tallies(40), 0.05).why.startswith("worse")


def test_gate_refuses_a_round_that_forgets_what_was_solved_but_not_for_a_lost_task_or_two() -> None:
    lost = tuple(f"t{i}" for i in range(8))
    refused = decide(_results(60), _results(70), 0.05, regression=Regression(tasks=20, lost=lost))
    assert refused.choice == "keep" and "8 of 20" in refused.why and "t0, t1, t2, t3, t4 and 3 more" in refused.why
    assert decide(_results(60), _results(70), 0.05, regression=Regression(tasks=20, lost=lost[:2])).promote


def test_successes_with_the_same_plan_and_almost_the_same_lines_are_one() -> None:
    line = "total=sum(value.amount_of_money_in_euros_for_value_in_all_values_of_the_year)"
    found = [
        _trajectory("t", 0, Outcome.SOLVED, line),
        _trajectory("t", 1, Outcome.SOLVED, f"{line}1"),
        _trajectory("t", 2, Outcome.SOLVED, "other"),
    ]
    assert select(found, {"t": _task("t")}, keep_per_task=3).dropped["like another success"] == 1


def test_one_repository_of_several_does_not_crowd_out_the_others() -> None:
    tasks = {name: _task(name) for name in "abcdefg"}
    found = [_trajectory(name, 0, Outcome.SOLVED, repo="large" if name in "abcdef" else "small") for name in tasks]
    chosen = select(found, tasks, keep_per_task=2, repository_share=0.75)
    assert (chosen.kept, chosen.dropped["over repository_share"]) == (4, 3)
    alone = select(found[:6], tasks, keep_per_task=2, repository_share=0.75)
    assert (alone.kept, alone.dropped["over repository_share"]) == (6, 0)


def test_a_success_whose_grade_is_flagged_teaches_nothing() -> None:
    flagged = _trajectory("a", 0, Outcome.SOLVED).model_copy(
        update={"verdict": Verdict(passed=True, reason="", flags=("reads its caller",))}
    )
    chosen = select([flagged, _trajectory("b", 0, Outcome.SOLVED)], {name: _task(name) for name in "ab"}, keep_per_task=2)
    assert (chosen.solved_tasks, chosen.dropped["flagged"]) == (1, 1)


def test_tasks_without_tests_give_no_more_than_their_share_and_nothing_unless_it_is_asked_for() -> None:
    hard = {name: _task(name) for name in "abcdef"}
    soft = {name: _task(name).model_copy(update={"fail_to_pass": ()}) for name in "uvwxyz"}
    found = [_trajectory(name, 0, Outcome.SOLVED) for name in (*hard, *soft)]
    chosen = select(found, hard | soft, keep_per_task=2, soft_share=0.25)
    assert (chosen.kept, chosen.dropped["over soft_share"]) == (8, 4)
    assert select(found, hard | soft, keep_per_task=2).kept == 6
