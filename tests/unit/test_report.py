"""The report says what the records say, no more, and stands alone."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from forge.errors import StoreError
from forge.evals.best_of_n import BestOfN, best_of_n
from forge.evals.cost import step_cost
from forge.evals.headline import chosen, headline
from forge.evals.pages.cost import cost
from forge.evals.pages.judge import judge
from forge.evals.pages.page import page
from forge.evals.pages.parts import duration
from forge.evals.pages.plots import pass_at_1
from forge.evals.pages.rounds import rounds
from forge.evals.paired import Paired, compare
from forge.evals.report import read_summary, write_report
from forge.evals.steps import step_report
from forge.evals.stories import diff
from forge.evals.summary import BaseNote, Evaluated, RunSummary, choose_stories, evaluated, gain
from forge.records import (
    STAGES,
    AdapterRef,
    Decision,
    FileEdit,
    Message,
    Outcome,
    RoundPlan,
    RoundReport,
    Spent,
    StepReport,
    Task,
    Trajectory,
    Turn,
    Verdict,
)

STEPS = {"baseline": 3, "cold-start": 46, "rft-1": 59, "rft-2": 68}
SCORES = {
    "analysis_recall": (0.31, 0.84, 0.9, 0.93),
    "relevance_accuracy": (0.52, 0.86, 0.91, 0.92),
    "relevance_ap": (0.55, 0.88, 0.93, 0.95),
    "planning_agreement": (0.02, 0.71, 0.79, 0.85),
    "generation_apply_rate": (0.05, 0.81, 0.9, 0.94),
    "review_auc": (0.5, 0.69, 0.78, 0.83),
}
PATCH = """--- a/stock/levels.py
+++ b/stock/levels.py
@@ -12,5 +12,5 @@ def reorder(levels, floor):
     wanted = []
     for name, level in levels:
-        if level < floor:
+        if level <= floor:
             wanted.append(name)
     return wanted
"""


def step(index: int, name: str, solved: int, tasks: int = 100) -> StepReport:
    rollouts = [trajectory(f"t{i}", Outcome.SOLVED if i < solved else Outcome.FAILED, name) for i in range(tasks)]
    before = {f"t{i}": i < list(STEPS.values())[index - 1] for i in range(tasks)} if index > 1 and tasks == 100 else None
    report = step_report(name, index, rollouts, promoted=True, before=before)
    scores = {key: values[index] for key, values in SCORES.items()}
    return report.model_copy(update={"stage_scores": scores if tasks == 100 else {}})


def turn(stage: str, text: str, attempt: int = 0, score: float | None = None, subject: str = "", parsed: bool = True) -> Turn:
    prompt = (
        Message(role="system", content=stage),
        Message(role="user", content="# issue\nreorder leaves out levels that equal the floor\n# symbol\n..."),
    )
    return Turn(
        stage=stage,
        model_id=f"{stage}@r3-7c1e",
        attempt=attempt,
        messages=prompt,
        text=text,
        prompt_ids=(1, 2),
        completion_ids=(3,),
        logprobs=(-0.1,),
        score=score,
        subject=subject,
        parsed=parsed,
    )


def trajectory(task: str, outcome: Outcome, step_name: str = "evaluate-rft-2", repairs: int = 0, patch: str = PATCH) -> Trajectory:
    edit = "stock/levels.py\n<<<<<<< SEARCH\n        if level < floor:\n=======\n        if level <= floor:\n>>>>>>> REPLACE"
    plan = "edit stock/levels.py::reorder\nline: if level < floor:\nchange: comparison"
    turns = [
        turn("analysis", "stock/levels.py::reorder\nstock/levels.py::restock"),
        turn("relevance", "yes", score=0.97, subject="stock/levels.py::reorder"),
        turn("relevance", "no", score=0.08, subject="stock/levels.py::restock"),
    ]
    for attempt in range(repairs + 1):
        score = 0.91 if attempt == repairs and outcome is Outcome.SOLVED else 0.12
        turns += [turn("planning", plan, attempt), turn("generation", edit, attempt), turn("review", "yes", attempt, score)]
    return Trajectory(
        id=f"{step_name}-{task}",
        task_id=task,
        repo="practice-1",
        round=3,
        step=step_name,
        sample=0,
        seed=0,
        temperature=0.0,
        turns=tuple(turns),
        patch=patch,
        outcome=outcome,
        repairs=repairs,
        verdict=Verdict(
            passed=outcome is Outcome.SOLVED, reason="", failed_ids=() if outcome is Outcome.SOLVED else ("tests/t.py::test_floor",)
        ),
        seconds=2.4,
    )


def task(name: str) -> Task:
    return Task(
        id=name,
        repo="practice-1",
        base_commit="c" * 40,
        origin="injected",
        statement="reorder leaves out levels that equal the floor <b>&</b>\n\nFailing: tests/test_levels.py::test_floor",
        tree="h",
        gold=(FileEdit(path="stock/levels.py", content=""),),
        tests=(),
        fail_to_pass=(),
        pass_to_pass=(),
        files=("stock/levels.py",),
    )


def made_decisions(number: int, evidence: str, choice: str = "promote") -> tuple[Decision, ...]:
    """What a round of the loop decides, with made-up figures."""
    if number == 1:
        plan = Decision(round=1, name="plan", choice="cold-start", why="the first adapters learn from mined commits")
        return plan, Decision(round=1, name="gate", choice="promote", why=evidence)
    why = "of 240 tasks probed 3 times, 61 were solved always, 102 sometimes, 77 never; 0 are retired, 0 wait"
    solves = "163 different training tasks solved by itself, 100 are asked for"
    return (
        Decision(round=number, name="plan", choice="rft", why="fewer than 2 rounds since the cold start"),
        Decision(
            round=number, name="curriculum", choice="1440 samples", why=why, figures={"always": 61.0, "sometimes": 102.0, "never": 77.0}
        ),
        Decision(round=number, name="bootstrap", choice="allowed", why=solves, figures={"own_solves": 163.0, "minimum": 100.0}),
        Decision(round=number, name="gate", choice=choice, why=evidence, figures={"gained": 17.0, "lost": 4.0, "p": 0.0072}),
    )


def judged() -> BestOfN | None:
    """Four answers to each of 100 tasks by an agent of many abilities, whose judge is right more often than not."""
    answers = []
    for task_number in range(100):
        for sample in range(4):
            right = (task_number * 31 + sample * 17) % 100 < task_number
            score = ((task_number * 7 + sample * 13) % 60 + (40 if right else 0)) / 100
            outcome = Outcome.SOLVED if right else Outcome.FAILED
            answers.append(
                trajectory(f"t{task_number}", outcome, "choose-rft-2").model_copy(update={"sample": sample, "review_score": score})
            )
    return best_of_n(answers)


def realistic() -> RunSummary:
    """A run as the quickstart's is, all of it made up: what the page is drawn from in tests."""
    steps = [step(index, name, solved) for index, (name, solved) in enumerate(STEPS.items())]
    moved = [step(index, name, round(solved * 0.34), 40) for index, (name, solved) in enumerate(STEPS.items())]
    results = {name: {f"t{i}": (i * 37) % 100 < solved for i in range(100)} for name, solved in STEPS.items()}
    paired = gain(results, steps, seed=0)
    rows = [
        dict(zip(STAGES, counts, strict=True))
        for counts in ((412, 2310, 498, 498, 840), (201, 402, 203, 210, 388), (268, 536, 271, 280, 512))
    ]
    decisions = ["first adapters: promoted", "better: 17 tasks gained, 4 lost, p = 0.007", "not worse: 13 tasks gained, 4 lost, p = 0.049"]
    made_rounds = [
        RoundReport(round=0, name="baseline", examples={}, step=steps[0], decision="the base alone, through the same agent", adapters={})
    ]
    for number, (made, decision) in enumerate(zip(rows, decisions, strict=True), start=1):
        plan = RoundPlan(round=number, kind="rft", tasks=240, probe=3, samples=6) if number > 1 else RoundPlan(round=1, kind="cold-start")
        report = RoundReport(round=number, name=steps[number].name, examples=made, step=steps[number], decision=decision, adapters={})
        told = {"plan": plan, "decisions": made_decisions(number, decision), "seconds": 171.0, "tokens": 1_700_000}
        made_rounds.append(report.model_copy(update=told))
    lineage = tuple(
        AdapterRef(
            stage=stage,
            version="r3-7c1e",
            round=3,
            path=f"adapters/{stage}/r3-7c1e",
            base="nano",
            base_sha256="9f2b4c" * 10,
            data_sha256="51d0aa" * 10,
            rank=16,
            examples=280,
            metrics={"eval_loss": 0.213},
        )
        for stage in STAGES
    )
    told = [trajectory("a", Outcome.SOLVED), trajectory("b", Outcome.SOLVED, repairs=1), trajectory("c", Outcome.FAILED)]
    return RunSummary(
        name="quickstart",
        seed=0,
        forge="0.1.0",
        finished="2026-11-22T17:03:00+00:00",
        hardware="2 CPU cores, no GPU",
        base=BaseNote(
            model="nano",
            sha256="9f2b4c" * 10,
            about="A stand-in of 1.6 M parameters that ships with forge so that the very same code runs without a download. It knows only "
            "generated practice code; it is no coding model.",
            stand_in=True,
        ),
        sandbox="bubblewrap",
        sandbox_why="bubblewrap and namespaces work here; no container engine answers",
        heldout=Evaluated(tasks=100, steps=tuple(steps)),
        transfer=Evaluated(tasks=40, steps=tuple(moved)),
        paired=paired,
        paired_p=paired.p if paired else None,
        wall_s=528.0,
        phase_s={
            "history": 4.1,
            "tasks": 47.0,
            "mining": 21.3,
            "evaluate-baseline": 24.0,
            "train-cold-start": 92.0,
            "evaluate-cold-start": 31.5,
            "collect-1": 78.2,
            "train-rft-1": 61.0,
            "evaluate-rft-1": 30.9,
            "collect-2": 55.0,
            "train-rft-2": 52.3,
            "evaluate-rft-2": 30.7,
        },
        outcomes={"solved": 1103, "failed": 1121, "agent_error": 262, "infra_error": 3},
        outcomes_by_step={
            "evaluate-baseline": {"solved": 3, "failed": 41, "agent_error": 96},
            "collect-1": {"solved": 540, "failed": 571, "agent_error": 86, "infra_error": 3},
            "collect-2": {"solved": 427, "failed": 398, "agent_error": 51},
            "evaluate-rft-2": {"solved": 91, "failed": 40, "agent_error": 9},
        },
        prompt_tokens=4_812_000,
        completion_tokens=631_000,
        tasks={"train": 200, "heldout": 100, "transfer": 40},
        examples=rows[0],
        dropped={"mining": {"merge": 41, "bot": 22, "no Python": 30}, "tasks": {"gold fails": 3, "doing nothing passes": 12}},
        stage_scores={report.name: report.stage_scores for report in steps},
        rounds=tuple(made_rounds),
        lineage=lineage,
        stories=choose_stories(told, {name: task(name) for name in "abc"}),
        decisions=tuple(decision for report in made_rounds for decision in report.decisions),
        outlook="no further round: all 2 rounds after the cold start are done",
        spent=Spent(wall_s=528.0, tokens=5_443_000),
        budget={"wall_s": 3600.0},
        costs=tuple(step_cost(step.name, [trajectory(f"t{i}", Outcome.FAILED) for i in range(step.solved, 100)]) for step in steps[:1])
        + tuple(step_cost(name, told) for name in ("evaluate-cold-start", "collect-1", "evaluate-rft-1")),
        best_of=judged(),
    )


class Outline(HTMLParser):
    """Open tags, in order, and whether each was closed."""

    VOID = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing() -> None:
    text = page(realistic())
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert outline.links == []
    assert "<script" not in text
    assert "url(" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_what_a_model_wrote_cannot_become_markup() -> None:
    text = page(realistic())
    assert "<b>&</b>" not in text
    assert "&lt;b&gt;&amp;&lt;/b&gt;" in text


def test_the_page_shows_what_the_issue_asks_for() -> None:
    text = page(realistic())
    for part in (
        "68/100",
        "23/40",
        "generation@r3-7c1e",
        "stand-in",
        "bubblewrap",
        "The review turned it round",
        "A failure",
        "gold fails",
    ):
        assert part in text, part
    assert text.count("<svg") == 6


def test_the_headline_claims_no_more_than_the_test_allows() -> None:
    summary = realistic()
    assert headline(summary) == "It now solves *68 of 100* unseen tasks, 22 points more than after its cold start"
    chance = Paired(tasks=100, gained=12, lost=8, difference=0.04, ci95=summary.heldout.steps[0].ci95, p=0.5)
    assert headline(summary.model_copy(update={"paired": chance})).endswith("4 points more than after its cold start, which may be chance")
    worse = chance.model_copy(update={"difference": -0.04})
    assert "no better than after its cold start" in headline(summary.model_copy(update={"paired": worse}))
    assert headline(summary.model_copy(update={"paired": None})).startswith("After rft-2 it solves")


def test_the_gain_compares_first_and_last_promoted_steps_of_the_loop() -> None:
    steps = [step(index, name, solved) for index, (name, solved) in enumerate(STEPS.items())]
    refused = [*steps[:3], steps[3].model_copy(update={"promoted": False})]
    results = {name: {f"t{i}": i < solved for i in range(100)} for name, solved in STEPS.items()}
    assert gain(results, steps, seed=0) == compare(results["cold-start"], results["rft-2"])
    assert gain(results, refused, seed=0) == compare(results["cold-start"], results["rft-1"])
    assert gain(results, steps[:2], seed=0) is None


def test_transfer_keeps_the_decisions_and_counts_its_own_tasks() -> None:
    steps = [step(1, "cold-start", 46)]
    found = evaluated(steps, {"cold-start": [trajectory("x", Outcome.SOLVED), trajectory("y", Outcome.INFRA_ERROR)]})
    assert (found.tasks, found.steps[0].solved, found.steps[0].promoted, found.steps[0].stage_scores) == (1, 1, True, {})


def test_stories_are_a_success_a_turnaround_and_a_failure_where_there_are_any() -> None:
    told = [trajectory("a", Outcome.SOLVED), trajectory("b", Outcome.SOLVED, repairs=1), trajectory("c", Outcome.FAILED)]
    tasks = {name: task(name) for name in "abc"}
    assert [(story.kind, story.task_id) for story in choose_stories(told, tasks)] == [
        ("success", "a"),
        ("turned round", "b"),
        ("failure", "c"),
    ]
    assert [story.kind for story in choose_stories(told[:1], tasks)] == ["success"]
    assert choose_stories([trajectory("a", Outcome.SOLVED, patch="")], tasks) == ()


def test_report_json_holds_the_promised_fields_and_reads_back(tmp_path: Path) -> None:
    summary = realistic()
    html = write_report(tmp_path, summary)
    found = json.loads((tmp_path / "report.json").read_text())
    assert html == tmp_path / "report.html"
    assert found["heldout"]["tasks"] == 100
    assert {"name", "pass_at_1", "ci95", "promoted"} <= found["heldout"]["steps"][-1].keys()
    assert {"paired_p", "wall_s", "phase_s", "outcomes", "sandbox", "seed"} <= found.keys()
    assert re.fullmatch(r"[0-9a-f]+", found["base"]["sha256"])
    assert read_summary(tmp_path / "report.json") == summary


def test_a_missing_or_foreign_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no report"):
        read_summary(tmp_path / "report.json")
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(StoreError, match="no report of this version"):
        read_summary(tmp_path / "report.json")


def test_an_early_run_without_adapters_or_stories_still_has_a_page() -> None:
    bare = {"paired": None, "paired_p": None, "transfer": None, "lineage": (), "stories": (), "stage_scores": {}, "outcomes_by_step": {}}
    summary = realistic().model_copy(update=bare)
    first = summary.heldout.steps[:1]
    text = page(summary.model_copy(update={"heldout": Evaluated(tasks=100, steps=first), "rounds": summary.rounds[:1]}))
    assert "No adapters were promoted" in text


def test_diffs_are_marked_by_line() -> None:
    marked = diff("--- a\n+++ b\n@@ -1 +1 @@\n-<old>\n+new\n same\n")
    assert '<span class="minus">-&lt;old&gt;</span><span class="plus">+new</span><span class=""> same</span>' in marked
    assert diff("") == '<p class="note">No patch was handed in.</p>'


@pytest.mark.parametrize(("seconds", "shown"), [(4.12, "4.1 s"), (48, "48 s"), (425, "7 min 05 s"), (7800, "2 h 10 min")])
def test_durations_read_as_people_say_them(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_each_round_tells_what_was_planned_why_and_what_was_decided_on_which_evidence() -> None:
    text = page(realistic())
    for part in (
        "What was tried, and why",
        "Round 3, rft-2",
        "Sample 240 training tasks 6 times each (3 as a probe), train on what was solved. Why: fewer than 2 rounds since the cold start.",
        "Of 240 tasks probed 3 times, 61 were solved always, 102 sometimes, 77 never; 0 are retired, 0 wait.",
        "own solves 163 · minimum 100",
        "1,867 training rows, then 68 of 100 held-out tasks = 68 % (58 to 76 %): promoted.",
        "No further round: all 2 rounds after the cold start are done.",
    ):
        assert part in text, part


def test_early_rounds_of_a_long_run_fold_and_a_round_without_training_says_so() -> None:
    refused = RoundReport(
        round=2,
        name="rft-1",
        examples={},
        collected={"failed": 90, "solved": 10},
        step=None,
        decision="only 10 tasks",
        adapters={},
        plan=RoundPlan(round=2, kind="rft", tasks=50, probe=2, samples=2),
    )
    few = rounds(realistic().model_copy(update={"rounds": (refused,), "decisions": ()}))
    assert "100 rollouts, 10 solved, nothing was trained." in few and "Only 10 tasks." in few and "<details>" not in few
    many = tuple(refused.model_copy(update={"round": number}) for number in range(1, 10))
    told = rounds(realistic().model_copy(update={"rounds": many, "decisions": ()}))
    assert "<summary>Rounds 1 to 4</summary>" in told and told.count("<li") == 9


def test_a_choice_of_many_words_stands_in_the_sentence() -> None:
    run = realistic()
    choice = "judged=4, planned=3, repairs=3, retry_temperature=1.2"
    decision = Decision(round=run.rounds[-1].round, name="scaffold", choice=choice, why="of 6 settings the best")
    told = rounds(run.model_copy(update={"decisions": (decision,)}))
    assert f"Of 6 settings the best: {choice}." in told and f">{choice}</span>" not in told


def test_a_report_of_before_decisions_were_kept_still_renders(tmp_path: Path) -> None:
    old = json.loads(realistic().model_dump_json())
    for field in ("decisions", "outlook", "spent", "budget", "costs", "best_of"):
        del old[field]
    for report in old["rounds"]:
        for field in ("decisions", "plan", "tokens"):
            del report[field]
    (tmp_path / "report.json").write_text(json.dumps(old))
    text = page(read_summary(tmp_path / "report.json"))
    assert "68/100" in text and "5.4 M tokens" in text
    for part in ("What was tried", "What choosing by review", "The price of a solved task"):
        assert part not in text


def test_the_worth_of_choosing_is_told_with_its_interval_and_the_scores_with_their_errors() -> None:
    found = judged()
    assert found is not None
    text = judge(found)
    assert f"({found.best_ci95[-1].low:.0%}".replace("%", " %") in text
    assert f"ECE) {found.calibration_error:.2f}, Brier {found.brier:.2f}, AUC {found.auc:.2f}" in text
    assert all(f">{item.answers}</text>" in text for item in found.bins)
    assert judge(None) == ""
    assert "of what there is to find" in text
    unsure = found.best_ci95[-1].model_copy(update={"low": 0.1})
    assert "The gain may be chance." in judge(found.model_copy(update={"best_ci95": (*found.best_ci95[:-1], unsure)}))
    one_sided = best_of_n([trajectory("t", Outcome.FAILED).model_copy(update={"sample": n, "review_score": 0.2}) for n in range(2)])
    assert "There is nothing to choose." in judge(one_sided) and "no AUC" in judge(one_sided)


def test_choosing_is_in_the_head_only_where_it_is_sure_to_be_worth_something() -> None:
    found = judged()
    assert found is not None
    assert chosen(found) == f"Choosing among 4 answers by review solves {100 * found.best[-1]:.0f} % instead of the 48 % of one."
    unsure = found.best_ci95[-1].model_copy(update={"low": found.best[0]})
    assert chosen(found.model_copy(update={"best_ci95": (*found.best_ci95[:-1], unsure)})) == ""
    assert chosen(None) == ""


def test_a_solved_task_costs_all_that_was_spent_on_its_step() -> None:
    rollouts = [
        trajectory("a", Outcome.SOLVED),
        trajectory("b", Outcome.FAILED, repairs=1),
        trajectory("b", Outcome.FAILED, repairs=1),
        trajectory("c", Outcome.INFRA_ERROR).model_copy(update={"verdict": None, "turns": ()}),
    ]
    timed = [item.model_copy(update={"box_s": 1.5}) for item in rollouts]
    found = step_cost("collect-1", timed)
    assert (found.rollouts, found.solved) == (4, 1)
    assert found.tokens == 3 * (6 + 9 + 9)  # three token ids a turn, six turns without and nine with a repair
    assert found.seconds == pytest.approx(4 * 2.4)
    assert found.box_s == 6.0
    assert found.per_solve(found.tokens) == 72
    assert step_cost("collect-1", timed[1:]).per_solve(1.0) is None


def test_costs_name_their_budgets() -> None:
    summary = realistic()
    assert "8 min 48 s (budget 1 h 00 min), 5.4 M tokens of prompts and answers, no GPU." in cost(summary)
    held = Spent(wall_s=528.0, tokens=5_443_000, gpu_hours=1.25, money=3.5)
    told = cost(summary.model_copy(update={"spent": held, "budget": {"gpu_hours": 2.0, "money": 4.0}}))
    assert "1.25 GPU hours (budget 2), 3.50 in money (budget 4)." in told
    assert "no budget was set" in cost(summary.model_copy(update={"budget": {}}))
    assert "nothing solved" in cost(summary)


def test_names_of_many_steps_do_not_lie_on_each_other() -> None:
    steps = [step(1, "cold-start", 46).model_copy(update={"name": f"rft-{number}"}) for number in range(20)]
    drawn = pass_at_1(steps, ())
    assert drawn.count('class="name middle"') == 7 and ">rft-19<" in drawn and drawn.count("<circle") == 20
