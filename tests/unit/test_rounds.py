"""What teaches the next round, and when a round is promoted."""

from __future__ import annotations

import pytest

from forge.records import Example, FileEdit, Lineage, Message, Outcome, Task, Trajectory, Turn
from forge.rounds.gate import decide
from forge.rounds.select import leaked, retired, select, with_replay


def _task(name: str, side: str = "train", path: str = "a/b.py") -> Task:
    return Task(
        id=name, repo="r", base_commit="b", origin="injected", statement="s", tree="h", gold=(FileEdit(path=path, content=""),), tests=(),
        fail_to_pass=("x",), pass_to_pass=(), files=(path,), side=side, commit=f"commit-of-{name}",
    )  # fmt: skip


def _trajectory(task: str, sample: int, outcome: Outcome, patch: str = "p", tokens: int = 3, repairs: int = 0) -> Trajectory:
    shared = {"model_id": "m", "messages": (), "text": "x", "prompt_ids": (1,), "logprobs": (0.0,)}
    plan = Turn(stage="planning", completion_ids=(2,) * tokens, **shared)
    review = Turn(stage="review", completion_ids=(7,), choice_ids=(7, 8, 9), **shared)
    return Trajectory(
        id=f"{task}-{sample}", task_id=task, repo="r", round=2, step="collect-1", sample=sample, seed=0, temperature=1.0,
        turns=(plan, review), patch=patch, outcome=outcome, repairs=repairs,
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
    assert chosen.dropped == {"same patch": 1, "over keep_per_task": 1, "infra_error": 1, "failed": 0}


def test_failures_teach_review_alone_and_never_outnumber_successes() -> None:
    tasks = {name: _task(name) for name in "abc"}
    found = [_trajectory("a", 0, Outcome.SOLVED), *(_trajectory(name, 0, Outcome.FAILED) for name in "bc")]
    rows = select(found, tasks, keep_per_task=2).rows
    assert [row.completion for row in rows["review"]] == ["yes", "no"]
    assert len(rows["planning"]) == 1


def test_a_task_retires_by_the_last_step_that_sampled_it() -> None:
    first = [_trajectory(task, sample, Outcome.SOLVED) for task in "abc" for sample in range(2)]
    first[3] = _trajectory("b", 1, Outcome.FAILED)
    second = [_trajectory("c", 0, Outcome.FAILED), _trajectory("d", 0, Outcome.SOLVED)]
    assert retired([first], 1.0) == {"a", "c"}
    assert retired([first], 0.5) == {"a", "b", "c"}
    assert retired([first, second], 1.0) == {"a", "d"}
    assert retired([], 1.0) == set()


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
    gate = decide(_results(60), _results(40), 0.05)
    assert not gate.promote and "worse" in gate.reason and gate.paired.p < 0.05


def test_gate_promotes_when_the_difference_is_noise_and_says_better_only_with_evidence() -> None:
    assert decide(_results(60), _results(58), 0.05).promote
    assert decide(_results(60), _results(61), 0.05).reason.startswith("not worse")
    assert decide(_results(40), _results(60), 0.05).reason.startswith("better")
