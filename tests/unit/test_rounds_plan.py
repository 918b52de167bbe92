"""What the next round does: each decision fires on a past that calls for it, and not on one that does not."""

from __future__ import annotations

from typing import Any

import pytest

from forge.config import RoundsConfig
from forge.records import Easier, FileEdit, Interval, Outcome, RoundPlan, RoundReport, Spent, StepReport, Task, Trajectory, Turn
from forge.rounds import curriculum
from forge.rounds.bootstrap import beside_teacher, by_teacher, held_back, own_answers, self_training
from forge.rounds.easier import too_hard, variants
from forge.rounds.past import Past, Tally, counted
from forge.rounds.plan import Means, in_words, next_plan
from forge.rounds.plateau import levers_since_gain, next_lever, progress

SETTINGS = RoundsConfig(limit=10, samples=4, probe=2, more_tasks=20, most_samples=8, bootstrap_solves=10, fresh_tasks=40)
MEANS = Means(tasks=200, fresh=0, pairs={"generation": 80}, teacher=False)


def _report(number: int, solved: int, plan: RoundPlan | None, *, promoted: bool = True) -> RoundReport:
    name = ("baseline", "cold-start")[number] if number < 2 else f"rft-{number - 1}"
    step = StepReport(
        name=name, round=number, pass_at_1=solved / 100, ci95=Interval(low=0, high=1), solved=solved, tasks=100, promoted=promoted
    )
    return RoundReport(round=number, name=name, examples={}, step=step, decision="", adapters={}, plan=plan)


def _past(shares: list[int], levers: dict[int, str] | None = None, **more: Any) -> Past:
    """Baseline, cold start and rounds whose steps solve the first so many of a hundred held-out tasks."""
    plans = [
        RoundPlan(round=n, kind="dpo" if (levers or {}).get(n) == "dpo" else "rft" if n > 1 else "cold-start",
                  tasks=40 * (n - 1), probe=2, samples=4, lever=(levers or {}).get(n, ""))
        for n in range(1, len(shares))
    ]  # fmt: skip
    rounds = [_report(n, share, plans[n - 1] if n else None) for n, share in enumerate(shares)]
    heldout = {r.step.name: {f"t{i}": i < r.step.solved for i in range(100)} for r in rounds if r.step}
    tallies = {2: {f"s{i}": Tally(solved=1, graded=2) for i in range(50)}}
    return Past.model_validate({"rounds": tuple(rounds), "heldout": heldout, "tallies": tallies, **more})


def test_the_first_round_is_the_cold_start_and_then_tasks_are_sampled() -> None:
    assert next_plan(_past([3]), MEANS, SETTINGS)[1].kind == "cold-start"
    decision, plan = next_plan(_past([3, 40]), MEANS, SETTINGS)
    assert (plan.kind, plan.name, plan.tasks, plan.samples, plan.probe, plan.lever) == ("rft", "rft-1", 40, 4, 2, "")
    assert "sample 40 training tasks 4 times each (2 as a probe)" in in_words(plan, decision.why)


def test_each_round_takes_on_fresh_tasks_as_long_as_there_are_any() -> None:
    assert next_plan(_past([3, 40, 60]), MEANS, SETTINGS)[1].tasks == 80
    assert next_plan(_past([3, 40, 60]), MEANS.model_copy(update={"tasks": 50}), SETTINGS)[1].tasks == 50


def test_a_loop_that_gains_goes_on_as_it_is() -> None:
    past = _past([3, 40, 55, 70])
    assert progress(past, SETTINGS).choice == "learning"
    decision, plan = next_plan(past, MEANS, SETTINGS)
    assert (plan.kind, plan.lever) == ("rft", "") and "30 held-out tasks gained, 0 lost" in decision.why


def test_a_plateau_pulls_one_lever_after_the_other_and_then_stops_with_a_sentence() -> None:
    flat = [3, 40, 60, 60, 60]
    means = MEANS.model_copy(update={"fresh": 40})
    pulled: dict[int, str] = {}
    for expected in ("fresh tasks", "more tasks", "more samples", "dpo"):
        past = _past([*flat, *[60] * len(pulled)], pulled)
        decision, plan = next_plan(past, means, SETTINGS)
        assert plan.lever == expected and "no proven gain in 2 rounds" in decision.why
        pulled[plan.round] = expected
    assert next_plan(_past(flat, {}), means, SETTINGS)[1].tasks == 200
    assert next_plan(_past([*flat, 60], {5: "fresh tasks"}), means, SETTINGS)[1].tasks == 220
    assert next_plan(_past([*flat, 60, 60], {5: "fresh tasks", 6: "more tasks"}), means, SETTINGS)[1].samples == 8
    assert next_plan(_past([*flat, 60, 60, 60], {5: "fresh tasks", 6: "more tasks", 7: "more samples"}), means, SETTINGS)[1].kind == "dpo"
    decision, plan = next_plan(_past([*flat, *[60] * 4], pulled), means, SETTINGS)
    assert plan.kind == "stop" and "tried: dpo, more samples, more tasks, fresh tasks" in decision.why


def test_a_gain_puts_the_levers_back() -> None:
    past = _past([3, 40, 60, 60, 60, 75], {5: "more tasks"})
    assert progress(past, SETTINGS).choice == "learning"
    _, plan = next_plan(past, MEANS, SETTINGS)
    assert plan.lever == ""
    later = _past([3, 40, 60, 60, 60, 75, 75, 75], {5: "more tasks"})
    assert levers_since_gain(later) == {} and next_plan(later, MEANS, SETTINGS)[1].lever == "more tasks"


def test_a_lever_that_is_not_there_is_left_out() -> None:
    past = _past([3, 40, 60, 60, 60])
    off = SETTINGS.model_copy(update={"more_tasks": 0, "most_samples": 4, "preference_pairs": 0})
    assert next_lever(past, MEANS, off) is None
    assert next_lever(past, MEANS, off.model_copy(update={"preference_pairs": 81})) is None
    assert next_lever(past, MEANS, off.model_copy(update={"preference_pairs": 80})) == "dpo"


def test_what_looks_like_a_gain_without_proof_is_in_doubt_until_it_was_looked_at_again() -> None:
    past = _past([3, 40, 60, 60, 63])
    found = progress(past, SETTINGS)
    assert found.choice == "doubt" and found.steps == ("rft-1", "rft-3")
    assert progress(past, SETTINGS.model_copy(update={"second_look": 0})).choice == "flat"

    def rates(solved: int) -> dict[str, Tally]:
        return {f"t{i}": Tally(solved=3 if i < solved else 0, graded=3) for i in range(100)}

    proven = past.model_copy(update={"again": {"rft-1": rates(60), "rft-3": rates(72)}})
    assert progress(proven, SETTINGS).choice == "learning"
    not_proven = past.model_copy(update={"again": {"rft-1": rates(60), "rft-3": rates(61)}})
    assert progress(not_proven, SETTINGS).choice == "flat"


def test_a_round_that_was_not_promoted_counts_as_no_gain() -> None:
    past = _past([3, 40, 60, 60, 90])
    last = past.rounds[-1]
    assert last.step is not None
    refused = last.model_copy(update={"step": last.step.model_copy(update={"promoted": False})})
    assert progress(past.model_copy(update={"rounds": (*past.rounds[:-1], refused)}), SETTINGS).choice == "flat"


def test_the_limit_of_rounds_ends_the_loop_and_raising_it_goes_on() -> None:
    past = _past([3, 40, 60])
    decision, plan = next_plan(past, MEANS, SETTINGS.model_copy(update={"limit": 1}))
    assert plan.kind == "stop" and decision.why == "all 1 rounds after the cold start are done"
    assert next_plan(past, MEANS, SETTINGS.model_copy(update={"limit": 2}))[1].kind == "rft"


@pytest.mark.parametrize(
    ("limit", "spent"), [({"wall_s": 60.0}, {"wall_s": 61.0}), ({"tokens": 10}, {"tokens": 10}), ({"money": 2.5}, {"money": 3.0})]
)
def test_a_budget_that_is_used_up_ends_the_loop_and_one_that_is_not_does_not(limit: dict[str, float], spent: dict[str, float]) -> None:
    settings = RoundsConfig.model_validate(SETTINGS.model_dump() | {"budget": limit})
    decision, plan = next_plan(_past([3, 40, 60], spent=Spent.model_validate(spent)), MEANS, settings)
    assert plan.kind == "stop" and next(iter(limit)) in decision.why
    assert next_plan(_past([3, 40, 60]), MEANS, settings)[1].kind == "rft"


def test_too_few_own_solves_refuse_self_training_and_enough_allow_it() -> None:
    past = _past([3, 10])
    assert self_training(past, 50, {}).choice == "allowed"
    refused = self_training(past, 51, {})
    assert refused.choice == "refused" and "only 50 different training tasks" in refused.why and refused.figures["own_solves"] == 50
    none = self_training(past.model_copy(update={"tallies": {}}), 0, {})
    assert none.choice == "refused" and "no training task was solved" in none.why


OWN = {"analysis": 12, "planning": 50, "generation": 50}


def test_a_stage_with_too_few_answers_of_its_own_is_held_back_while_the_others_learn_from_themselves() -> None:
    decision = self_training(_past([3, 10]), 50, OWN)
    assert decision.choice == "allowed but for analysis" and "only 12 (analysis)" in decision.why
    assert held_back(counted(decision), 50) == ("analysis",)
    assert self_training(_past([3, 10]), 12, OWN).choice == "allowed"
    assert self_training(_past([3, 10]), 51, OWN).choice == "refused"


def test_stages_that_the_teacher_carried_along_open_before_the_agent_as_a_whole() -> None:
    decision = self_training(_past([3, 10]), 60, OWN | {"planning": 60})
    assert decision.choice == "allowed but for analysis, generation" and "they learn from a teacher's answers" in decision.why


def test_beside_a_teacher_stages_without_own_proof_learn_from_it_alone() -> None:
    decision = beside_teacher(4, 50, OWN)
    assert (decision.name, decision.choice) == ("stages", "the teacher's answers alone for analysis")
    assert beside_teacher(4, 12, OWN).choice == "own answers too"


def test_after_a_round_that_held_a_stage_back_the_teacher_acts_for_it_alone_and_only_where_there_is_one() -> None:
    past, settings = _past([3, 40, 55], own=OWN), SETTINGS.model_copy(update={"bootstrap_solves": 50})
    decision, plan = next_plan(past, MEANS.model_copy(update={"teacher": True}), settings)
    assert (plan.kind, plan.taught, plan.samples, plan.tasks) == ("teacher", ("analysis",), 1, 40)
    assert "act as analysis on 40 training tasks" in in_words(plan, decision.why)
    assert next_plan(past, MEANS, settings)[1].kind == "rft"
    assert (
        next_plan(past, MEANS.model_copy(update={"teacher": True}), settings.model_copy(update={"bootstrap_solves": 12}))[1].kind == "rft"
    )


def _solved(name: str, *stages: tuple[str, str], outcome: Outcome = Outcome.SOLVED, parsed: bool = True) -> Trajectory:
    shared = {"messages": (), "text": "x", "prompt_ids": (1,), "completion_ids": (2,), "logprobs": (0.0,), "subject": "a.py::f"}
    turns = tuple(Turn(stage=stage, model_id=model, parsed=parsed or stage != "analysis", **shared) for stage, model in stages)
    return Trajectory(
        id=name, task_id=name, repo="r", round=2, step="collect-1", sample=0, seed=0, temperature=1.0, turns=turns, outcome=outcome,
        edits=(FileEdit(path="a.py", content=""),),
    )  # fmt: skip


def test_own_answers_are_those_that_led_to_a_proven_success_and_not_a_teachers() -> None:
    edit = FileEdit(path="a.py", content="")
    tasks = {
        name: Task(id=name, repo="r", base_commit="b", origin="injected", statement="s", tree="h", gold=(edit,), tests=(),
                   fail_to_pass=() if name == "soft" else ("x",), pass_to_pass=(), files=("a.py",), side="train")
        for name in ("own", "mixed", "failed", "dumb", "soft")
    }  # fmt: skip
    own, mixed = (("analysis", "a@1"), ("planning", "p@1")), (("analysis", "a@1"), ("planning", "teacher@planning"))
    found = [
        _solved("own", *own), _solved("own", *own), _solved("mixed", *mixed), _solved("failed", *own, outcome=Outcome.FAILED),
        _solved("dumb", *own, parsed=False), _solved("soft", *own),
    ]  # fmt: skip
    assert own_answers(found, tasks) == {"analysis": 2, "planning": 2}
    assert [trajectory.id for trajectory in by_teacher(found)["planning"]] == ["mixed"] and "analysis" not in by_teacher(found)


def test_after_a_refusal_the_teacher_acts_and_without_one_the_loop_ends() -> None:
    past = _past([3, 10, 10], refused=(2,))
    settings = SETTINGS.model_copy(update={"bootstrap_solves": 51})
    _, plan = next_plan(past, MEANS.model_copy(update={"teacher": True}), settings)
    assert (plan.kind, plan.samples, plan.tasks) == ("teacher", 1, 40)
    decision, plan = next_plan(past, MEANS, settings)
    assert plan.kind == "stop" and "there is no teacher" in decision.why
    assert next_plan(past, MEANS, settings.model_copy(update={"bootstrap_solves": 50}))[1].kind == "rft"


def test_own_solves_count_each_task_once_over_all_rounds() -> None:
    tallies = {2: {"a": Tally(solved=2, graded=2), "b": Tally(solved=0, graded=2)}, 3: {"a": Tally(solved=1, graded=1)}}
    assert _past([3, 10]).model_copy(update={"tallies": tallies}).own_solves() == 1


def test_solves_that_no_test_proves_do_not_open_the_gate() -> None:
    past = _past([3, 10]).model_copy(update={"soft": frozenset({"s0", "s1", "t9"})})
    assert past.own_solves() == 48


# Curriculum

PLAN = RoundPlan(round=4, kind="rft", tasks=4, probe=2, samples=4)


def test_tasks_solved_always_retire_and_those_never_solved_wait_and_come_back() -> None:
    never, always = Tally(solved=0, graded=4), Tally(solved=4, graded=4)
    tallies = {2: {"a": always, "b": never, "c": never}, 3: {"b": never, "c": Tally(solved=1, graded=4)}}
    probed = curriculum.probes(["a", "b", "c", "d"], tallies, PLAN, SETTINGS)
    assert probed.samples == {"c": 2, "d": 2} and probed.retired == ("a",) and probed.waiting == ("b",)
    assert "a" in curriculum.probes(["a", "b"], tallies, PLAN, SETTINGS, retiring=False).samples
    later = curriculum.probes(["a", "b", "c", "d"], tallies, PLAN.model_copy(update={"round": 6}), SETTINGS)
    assert "b" in later.samples and later.waiting == ()


def test_what_happens_in_a_round_does_not_change_its_own_probe() -> None:
    tallies = {4: {"a": Tally(solved=2, graded=2)}}
    assert curriculum.probes(["a"], tallies, PLAN, SETTINGS).samples == {"a": 2}


def test_the_rest_of_the_samples_goes_to_tasks_solved_sometimes_first() -> None:
    probed = curriculum.probes(["always", "sometimes", "never", "masked"], {}, PLAN, SETTINGS)
    found = {"always": Tally(solved=2, graded=2), "sometimes": Tally(solved=1, graded=2), "never": Tally(solved=0, graded=2)}
    decision, total = curriculum.rest(probed, found, PLAN)
    assert total.samples == {"always": 2, "sometimes": 8, "never": 3, "masked": 3}
    assert sum(total.samples.values()) == 4 * PLAN.samples
    assert "1 were solved always, 1 sometimes, 2 never" in decision.why


def test_samples_that_nobody_can_take_are_not_drawn() -> None:
    probed = curriculum.probes(["a", "b"], {}, PLAN, SETTINGS)
    _, total = curriculum.rest(probed, {name: Tally(solved=2, graded=2) for name in "ab"}, PLAN)
    assert total.samples == {"a": 2, "b": 2}


# Easier tasks

REFUSING = SETTINGS.model_copy(update={"bootstrap_solves": 51})
BATCH = Easier(round=3, count=60, operators=("return-none",), near=("r:a.py",))


def test_a_refusal_without_a_teacher_asks_for_easier_tasks_and_not_where_there_is_a_teacher_or_enough_solves() -> None:
    past, means = _past([3, 10, 10], refused=(2,)), MEANS.model_copy(update={"easier": BATCH})
    decision, plan = next_plan(past, means, REFUSING)
    assert (plan.kind, plan.easier, plan.tasks, decision.choice) == ("rft", BATCH, 40, "rft on easier tasks")
    assert "50 of 51" in decision.why and "60 easier ones of the kinds solved most (return-none" in decision.why
    assert "40 training tasks, and up to 60 easier ones made for it" in in_words(plan, decision.why)
    assert next_plan(past, means.model_copy(update={"teacher": True}), REFUSING)[1].kind == "teacher"
    assert next_plan(past, means, REFUSING.model_copy(update={"bootstrap_solves": 50}))[1].easier is None
    searching = RoundsConfig.model_validate(REFUSING.model_dump() | {"scaffold": {"trials": 2}})
    assert next_plan(past, means, searching)[1].kind == "scaffold", "the agent's own settings cost less and come first"


def test_a_plateau_on_tasks_out_of_reach_asks_for_easier_ones_once_and_one_on_tasks_within_reach_does_not() -> None:
    flat, means = _past([3, 40, 60, 60, 60]), MEANS.model_copy(update={"easier": BATCH, "too_hard": True})
    decision, plan = next_plan(flat, means, SETTINGS)
    assert (plan.lever, plan.easier, decision.choice) == ("easier tasks", BATCH, "rft with easier tasks")
    assert next_plan(flat, means.model_copy(update={"too_hard": False}), SETTINGS)[1].lever == "more tasks"
    assert next_plan(_past([3, 40, 60, 60, 60, 60], {5: "easier tasks"}), means, SETTINGS)[1].lever == "more tasks"


def _injected(name: str, operator: str, path: str) -> Task:
    return Task(id=name, repo="r", base_commit="b", origin="injected", operator=operator, statement="s", tree="h", tests=(),
                gold=(FileEdit(path=path, content=""),), fail_to_pass=("x",), pass_to_pass=(), files=(path,), side="train")  # fmt: skip


def test_a_batch_takes_the_kinds_that_are_solved_most_near_the_tasks_that_never_were() -> None:
    tasks = [
        _injected(f"t{n}", operator, f"{operator}.py") for n, operator in enumerate(("sure", "sure", "luck", "hard", "hard", "two+bugs"))
    ]
    wins = {"t0": 3, "t1": 3, "t2": 1, "t3": 0, "t4": 0, "t5": 3}
    tallies = {2: {name: Tally(solved=won, graded=1 if name == "t2" else 3) for name, won in wins.items()}}
    past = _past([3, 10]).model_copy(update={"tallies": tallies})
    found = variants(past, tasks, SETTINGS)
    assert found is not None and (found.round, found.count, found.failing) == (2, 60, 0.1)
    assert found.operators == ("sure", "luck", "hard") and found.near == ("r:hard.py",)
    assert variants(past, tasks, SETTINGS.model_copy(update={"easier_tasks": 0})) is None
    assert not too_hard(past) and too_hard(past.model_copy(update={"tallies": {2: tallies[2] | {"t0": Tally(solved=0, graded=1)}}}))


@pytest.mark.parametrize(("solved", "again"), [(0, False), (1, True)])
def test_easier_tasks_that_nobody_solves_either_are_not_asked_for_again(solved: int, again: bool) -> None:
    past = _past([3, 10, 10])
    asked = past.rounds[-1].model_copy(update={"plan": past.plans[-1].model_copy(update={"easier": BATCH.model_copy(update={"round": 2})})})
    tallies = {2: {"easier-a": Tally(solved=solved, graded=2), "b": Tally(solved=2, graded=2)}}
    found = past.model_copy(update={"rounds": (*past.rounds[:-1], asked), "tallies": tallies})
    assert (variants(found, (), SETTINGS) is not None) is again
