"""Statistics against numbers worked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.evals.intervals import bootstrap_mean, wilson
from forge.evals.paired import compare, mcnemar_exact
from forge.evals.pass_at_k import mean_pass_at_k, pass_at_k
from forge.evals.stage_scores import Truth, auc, average_precision, stage_scores, truth_of
from forge.evals.steps import outcomes, solved_by_task, step_report
from forge.records import FileEdit, Outcome, Task, Trajectory, Turn, Verdict


def test_wilson_gives_the_textbook_interval() -> None:
    # 47 of 100: centre (0.47 + 3.8415/200) / 1.038415 = 0.47111, half 1.95996 * sqrt(0.002491 + 0.0000960365) / 1.038415 = 0.09600
    interval = wilson(47, 100)
    assert interval.low == pytest.approx(0.37511, abs=1e-4)
    assert interval.high == pytest.approx(0.56711, abs=1e-4)
    # 0 of 10: low 0, high z² / (10 + z²) = 3.841459 / 13.841459
    assert wilson(0, 10).low == 0.0
    assert wilson(0, 10).high == pytest.approx(0.277533, abs=1e-6)
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)


@given(st.integers(0, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_stays_within_zero_and_one(counts: tuple[int, int]) -> None:
    successes, trials = counts
    interval = wilson(successes, trials)
    assert 0.0 <= interval.low <= interval.high <= 1.0
    if trials:
        assert interval.low - 1e-9 <= successes / trials <= interval.high + 1e-9


def test_bootstrap_is_seeded_and_brackets_the_mean() -> None:
    values = [0.0] * 50 + [1.0] * 50
    interval = bootstrap_mean(values, seed=1)
    assert interval == bootstrap_mean(values, seed=1)
    assert interval.low == pytest.approx(0.40, abs=0.03)
    assert interval.high == pytest.approx(0.60, abs=0.03)
    assert bootstrap_mean([2.0], seed=0).low == 2.0
    with pytest.raises(ValueError, match="no values"):
        bootstrap_mean([], seed=0)


def test_mcnemar_is_the_exact_binomial() -> None:
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(5, 0) == pytest.approx(2 / 32)
    assert mcnemar_exact(0, 5) == pytest.approx(2 / 32)
    # 8 to 2: 2 * (1 + 10 + 45) / 1024
    assert mcnemar_exact(8, 2) == pytest.approx(112 / 1024)
    assert mcnemar_exact(3, 3) == 1.0
    # 20 to 5: 2 * (1 + 25 + 300 + 2300 + 12650 + 53130) / 2^25
    assert mcnemar_exact(20, 5) == pytest.approx(2 * 68406 / 2**25)


def test_steps_are_compared_over_the_tasks_they_share() -> None:
    before = {"a": True, "b": False, "c": False, "only-before": True}
    after = {"a": False, "b": True, "c": True, "only-after": True}
    paired = compare(before, after)
    assert (paired.tasks, paired.gained, paired.lost) == (3, 2, 1)
    assert paired.difference == pytest.approx(1 / 3)
    assert paired.p == 1.0
    assert paired.ci95.low <= paired.difference <= paired.ci95.high
    with pytest.raises(ValueError, match="no task in common"):
        compare({"a": True}, {"b": True})


def test_pass_at_k_is_unbiased() -> None:
    assert pass_at_k(10, 3, 1) == pytest.approx(0.3)
    # 1 - C(7,5)/C(10,5) = 1 - 21/252
    assert pass_at_k(10, 3, 5) == pytest.approx(1 - 21 / 252)
    assert pass_at_k(6, 4, 3) == 1.0
    assert pass_at_k(4, 0, 4) == 0.0
    assert mean_pass_at_k([(4, 4), (4, 0), (4, 2)], 1) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="pass@5"):
        pass_at_k(4, 1, 5)


def test_average_precision_and_auc_by_hand() -> None:
    # ranks 1 and 3 are relevant: (1/1 + 2/3) / 2
    assert average_precision([True, False, True, False], [0.9, 0.8, 0.7, 0.1]) == pytest.approx(5 / 6)
    assert average_precision([False], [0.4]) is None
    assert average_precision([True, False], [0.5, 0.5]) == pytest.approx(0.5)
    # pairs: 0.9 beats both, 0.5 beats 0.2 and ties with 0.5
    assert auc([0.9, 0.5], [0.5, 0.2]) == pytest.approx(3.5 / 4)
    assert auc([], [0.1]) is None


def turn(stage: str, text: str = "", score: float | None = None, subject: str = "", parsed: bool = True, attempt: int = 0) -> Turn:
    return Turn(
        stage=stage,
        model_id=f"{stage}@r0-1",
        attempt=attempt,
        messages=(),
        text=text,
        prompt_ids=(1,),
        completion_ids=(2,),
        logprobs=(0.0,),
        parsed=parsed,
        score=score,
        subject=subject,
    )


def trajectory(task: str, outcome: Outcome, *turns: Turn) -> Trajectory:
    return Trajectory(
        id=task,
        task_id=task,
        repo="r",
        round=0,
        step="evaluate",
        sample=0,
        seed=0,
        temperature=0.0,
        turns=turns,
        outcome=outcome,
        review_score=max((turn.score for turn in turns if turn.stage == "review" and turn.score is not None), default=None),
        verdict=Verdict(passed=outcome is Outcome.SOLVED, reason=""),
    )


TRUTHS = {name: Truth(files=frozenset({"m.py"}), symbols=frozenset({"m.py::f"})) for name in ("t1", "t2", "t3")}


def test_each_stage_is_scored_against_the_gold_change() -> None:
    first = trajectory(
        "t1",
        Outcome.SOLVED,
        turn("analysis", subject="m.py::f\nm.py::g"),
        turn("relevance", score=0.9, subject="m.py::f"),
        turn("relevance", score=0.6, subject="m.py::g"),
        turn("planning", subject="m.py::f"),
        turn("generation"),
        turn("review", score=0.8),
    )
    second = trajectory(
        "t2",
        Outcome.FAILED,
        turn("analysis", subject="m.py::g"),
        turn("relevance", score=0.2, subject="m.py::f"),
        turn("relevance", score=0.4, subject="m.py::g"),
        turn("planning", subject="m.py::g"),
        turn("generation", parsed=False),
        turn("generation", attempt=1),
        turn("review", score=0.3),
        turn("review", score=0.7, attempt=1),
        turn("review", score=0.2, attempt=2),
    )
    third = trajectory("t3", Outcome.FAILED, turn("review", score=0.9), turn("review", score=0.1, attempt=1))
    masked = trajectory("t3", Outcome.INFRA_ERROR, turn("analysis", "nonsense"))
    scores = stage_scores([first, second, third, masked], TRUTHS)
    assert scores == pytest.approx(
        {
            "analysis_recall": 1 / 2,
            "analysis_file_recall": 1.0,
            "relevance_accuracy": 2 / 4,
            "relevance_ap": (1.0 + 1 / 2) / 2,
            "planning_agreement": 1 / 2,
            "generation_apply_rate": 2 / 3,
            "review_auc": 1 / 2,  # of what was handed in, 0.9 and 0.7 wrong beside 0.8 right
        }
    )


def test_a_score_without_measurements_is_left_out() -> None:
    assert stage_scores([trajectory("t1", Outcome.SOLVED, turn("review", score=0.8))], TRUTHS) == {}
    assert stage_scores([trajectory("unknown", Outcome.SOLVED, turn("analysis", "m.py::f"))], TRUTHS) == {}


def test_truth_is_what_the_gold_change_touches_in_the_tree_with_the_setup() -> None:
    good = "def f(x):\n    return x + 1\n\n\ndef g(x):\n    return x\n"
    task = Task(
        id="t",
        repo="r",
        base_commit="c",
        origin="injected",
        statement="s",
        tree="h",
        setup=(FileEdit(path="m.py", content=good.replace("+ 1", "- 1")),),
        gold=(FileEdit(path="m.py", content=good), FileEdit(path="new.py", content="def h():\n    pass\n")),
        tests=(),
        fail_to_pass=(),
        pass_to_pass=(),
        files=("m.py",),
    )
    truth = truth_of(task, {"m.py": good.encode(), "other.py": b"def o(): pass"})
    assert truth.files == {"m.py", "new.py"}
    assert truth.symbols == {"m.py::f"}


def test_a_step_masks_infrastructure_errors_and_counts_agent_errors_as_unsolved() -> None:
    rollouts = [
        trajectory("t1", Outcome.SOLVED),
        trajectory("t2", Outcome.AGENT_ERROR),
        trajectory("t3", Outcome.INFRA_ERROR),
        trajectory("t4", Outcome.FAILED),
    ]
    report = step_report("rft-1", 1, rollouts, promoted=True, before={"t1": False, "t2": False, "t4": False})
    assert (report.solved, report.tasks) == (1, 3)
    assert report.pass_at_1 == pytest.approx(1 / 3)
    assert report.paired_p == 1.0
    assert report.outcomes == {"solved": 1, "failed": 1, "agent_error": 1, "infra_error": 1} == outcomes(rollouts)
    with pytest.raises(ValueError, match="two results"):
        solved_by_task([rollouts[0], rollouts[0]])
