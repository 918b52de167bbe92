"""`forge status` says of a run what its ledger says, reads it beside a writer, and changes nothing."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from forge.records import RoundPlan
from forge.store.holder import Holder
from forge.store.ledger import Ledger
from forge.store.workspace import Workspace
from jobs.status.facts import Facts, Lookout
from jobs.status.screen import line, picture
from jobs.status.view import Status, course, pace, status_of
from tests.made_run import HELDOUT, START, MadeRun

ALIVE = Holder(process=41, host="here", alive=True)
DEAD = Holder(process=41, host="here", alive=False)


@pytest.fixture
def run(tmp_path: Path) -> MadeRun:
    return MadeRun(tmp_path / "w")


def seen(run: MadeRun, holder: Holder | None = ALIVE) -> Status:
    return status_of(facts(run, holder))


def facts(run: MadeRun, holder: Holder | None = ALIVE) -> Facts:
    return replace(Lookout(run.root).look(run.time), holder=holder)


def text(status: Status, width: int = 80, **options: bool) -> str:
    console = Console(width=width, force_terminal=False, highlight=False)
    with console.capture() as captured:
        console.print(picture(status, width, **options))
    return captured.get()


def test_a_run_that_has_just_begun_says_what_it_makes_first(run: MadeRun) -> None:
    run.ledger.start_phase("history", {"what": "practice repositories", "sandbox": "bubblewrap"})
    run.later(5)
    found = seen(run)
    assert (found.state, found.told, found.sandbox, found.seed) == ("running", "running, process 41", "bubblewrap", 7)
    assert found.now is not None and found.now.round is None
    assert [(part.name, part.state) for part in found.now.parts][:2] == [("history", "now"), ("tasks", "to come")]
    assert found.now.work is not None and found.now.work.spent_s == 5
    assert (found.steps, found.better, found.lately) == ((), "", "")
    assert "nothing is evaluated yet" in text(found)


def test_a_round_under_way_shows_its_plan_its_part_and_how_fast_it_goes(run: MadeRun) -> None:
    run.before_the_rounds()
    run.round(1, solved=8, why="first adapters: promoted")
    run.planned(2)
    run.rolled_out("collect-1", ["t0", "t1", "t2", "t3"], solved=3, total=20)
    found = seen(run)
    assert found.now is not None
    assert found.now.plan == "round 2, rft-1: sample 10 training tasks 2 times each, train on what was solved"
    assert found.now.why == "fewer than 2 rounds since the cold start"
    assert [(part.name, part.state) for part in found.now.parts] == [
        ("collect-1", "now"),
        ("train-rft-1", "to come"),
        ("evaluate-rft-1", "to come"),
        ("gate", "to come"),
    ]
    work = found.now.work
    assert work is not None and (work.done, work.all, work.outcomes) == (4, 20, {"failed": 1, "solved": 3})
    assert (work.per_s, work.left_s, work.spent_s) == (0.5, 32.0, 8.0)
    assert found.next.startswith("round 3 (1 of 2 rounds left)")
    shown = text(found)
    assert "4/20 rollouts  0.5/s  0:32 left  0:08 so far" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_the_rate_falls_when_nothing_comes_any_more() -> None:
    assert pace([10.0, 12.0, 14.0], now=14.0) == 0.5
    assert pace([10.0, 12.0, 14.0], now=50.0) == 0.05
    assert pace([10.0], now=50.0) is None


def test_time_goes_on_while_a_phase_runs_and_stands_still_when_the_run_is_dead(run: MadeRun) -> None:
    run.before_the_rounds()
    before = seen(run).cost.spent.wall_s
    run.rolled_out("evaluate-x", ["h0"], solved=1, total=2)
    run.later(100)
    assert seen(run).cost.spent.wall_s == before + 102
    assert seen(run, DEAD).cost.spent.wall_s == before + 2


def test_a_run_that_was_killed_says_where_and_that_it_goes_on(run: MadeRun) -> None:
    run.before_the_rounds()
    run.planned(1)
    run.ledger.start_phase("train-cold-start", {"what": "5 adapters"})
    found = seen(run, DEAD)
    assert found.state == "stopped"
    assert found.told == "ended in the middle of train-cold-start, stopped or killed; the same forge improve command goes on from here"
    assert seen(run, None).state == "stopped"


def test_a_run_on_another_machine_is_judged_by_its_last_entry(run: MadeRun) -> None:
    run.before_the_rounds()
    away = Holder(process=1, host="elsewhere", alive=None)
    assert seen(run, away).told == "started on elsewhere, which cannot be seen from here"
    run.later(3600)
    assert seen(run, away).told.endswith("it may have ended")


def test_gains_are_told_with_their_evidence(run: MadeRun) -> None:
    run.before_the_rounds()
    run.round(1, solved=5, why="first adapters: promoted")
    run.round(2, solved=15, why="better: 10 tasks gained, 0 lost, p = 0.002")
    found = seen(run)
    assert [(item.step.name, item.step.solved, item.step.promoted) for item in found.steps] == [
        ("baseline", 1, True),
        ("cold-start", 5, True),
        ("rft-1", 15, True),
    ]
    assert found.better == f"It now solves 15 of {HELDOUT} unseen tasks, 50 points more than after its cold start"
    assert found.lately.startswith("too early to say")
    shown = text(found)
    assert "rft-1: better: 10 tasks gained, 0 lost, p = 0.002" in shown
    run.round(3, solved=20, why="not worse")
    assert seen(run).lately == "still learning: 15 held-out tasks gained, 0 lost, p = 6.1e-05 since round 1"


def test_a_round_that_was_kept_out_says_so(run: MadeRun) -> None:
    run.before_the_rounds()
    run.round(1, solved=12, why="first adapters: promoted")
    run.round(2, solved=2, promoted=False, why="worse: 0 tasks gained, 10 lost, p = 0.002; the promoted adapters stay")
    found = seen(run)
    assert found.better == f"After cold-start it solves 12 of {HELDOUT} tasks that it had never seen"
    assert "kept the old" in text(found)


def test_decisions_are_those_of_the_round_and_all_of_them_when_asked(run: MadeRun) -> None:
    run.before_the_rounds()
    run.round(1, solved=5, why="first adapters: promoted")
    run.planned(2)
    run.decided(2, "bootstrap", "allowed", "9 different training tasks solved by itself, 5 are asked for")
    found = seen(run)
    assert found.round == 2 and [decision.name for decision in found.of_round()] == ["plan", "bootstrap"]
    assert "9 different training tasks" in text(found) and "first adapters learn" not in text(found)
    assert "the first adapters learn from mined commits" in text(found, everything=True)


def test_a_second_look_is_shown_beside_the_parts_of_the_round(run: MadeRun) -> None:
    run.before_the_rounds()
    run.round(1, solved=5)
    run.planned(2)
    run.rolled_out("again-cold-start", ["h1"], solved=1, total=40)
    found = seen(run)
    assert found.now is not None and found.now.parts[-1].name == "again-cold-start" and found.now.parts[-1].state == "now"


def test_a_finished_run_says_why_there_is_no_further_round(run: MadeRun) -> None:
    run.before_the_rounds()
    for number, solved in ((1, 5), (2, 9), (3, 14)):
        run.round(number, solved)
    (run.root / "report.json").write_text("{}")  # of now, so after the made-up clock of the ledger
    found = seen(run, DEAD)
    assert (found.state, found.now) == ("finished", None)
    assert found.next.startswith("no further round: all 2 rounds after the cold start are done; the report is ")
    assert seen(run, ALIVE).state == "running"


def test_a_run_that_ended_between_two_rounds_says_what_a_further_start_would_do(run: MadeRun) -> None:
    run.before_the_rounds()
    run.round(1, solved=5)
    found = seen(run, DEAD)
    assert found.state == "stopped" and found.now is None
    assert found.next.startswith("round 2, rft-1: sample 10 training tasks")


def test_costs_stand_beside_their_budgets(tmp_path: Path) -> None:
    run = MadeRun(tmp_path / "w", ["rounds.budget.wall_s=600", "serve.gpus=1", "rounds.budget.gpu_hour_price=36", "rounds.budget.money=5"])
    run.before_the_rounds()
    found = seen(run).cost
    assert found.budget == {"wall_s": 600.0, "money": 5.0}
    assert (found.spent.wall_s, found.spent.money) == (70.0, pytest.approx(0.7))
    assert (found.rollouts, found.retries) == ({"failed": 19, "solved": 1}, 1)
    shown = " ".join(text(seen(run)).split())
    assert "1:10 of 10:00 wall time" in shown and "0.70 of 5 in money" in shown and "1 infrastructure retries" in shown


def test_the_parts_of_a_round_follow_its_kind() -> None:
    sampled = RoundPlan(round=3, kind="rft", tasks=10, probe=2, samples=6)
    assert course(sampled) == ("probe-2", "collect-2", "train-rft-2", "evaluate-rft-2", "gate")
    assert course(sampled.model_copy(update={"probe": 6})) == ("collect-2", "train-rft-2", "evaluate-rft-2", "gate")
    assert course(RoundPlan(round=4, kind="dpo")) == ("train-dpo-3", "evaluate-dpo-3", "gate")
    assert course(RoundPlan(round=4, kind="teacher", samples=1))[0] == "teach-3"
    assert course(RoundPlan(round=4, kind="stop")) == ()


def test_one_line_says_phase_progress_and_the_last_result(run: MadeRun) -> None:
    run.before_the_rounds()
    run.planned(1)
    run.rolled_out("evaluate-cold-start", ["h0", "h1"], solved=1, total=20)
    assert line(seen(run)) == "running, process 41 · evaluate-cold-start 2/20 rollouts  0.5/s  0:36 left  0:04 so far · baseline 5% · 1:14"


def test_looking_changes_nothing_and_sees_what_is_written_meanwhile(run: MadeRun) -> None:
    run.before_the_rounds()
    ledger = run.root / "ledger.db"
    with Workspace.open(run.root):
        before, lock = ledger.read_bytes(), (run.root / "lock").read_bytes()
        lookout = Lookout(run.root)
        first = lookout.look(START)
        assert first.holder is not None and first.holder.alive
        run.round(1, solved=5)
        assert len(lookout.look(START).rounds) == len(first.rounds) + 1
        assert (run.root / "lock").read_bytes() == lock
    files = sorted(path.name for path in run.root.iterdir())
    run.ledger.close()
    Lookout(run.root).look(START)
    assert ledger.read_bytes()[:18] == before[:18]
    assert {path.name for path in run.root.iterdir()} <= {*files, "ledger.db-shm", "ledger.db-wal"}


def test_no_trajectory_is_read_and_what_is_over_is_not_read_again(run: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run.before_the_rounds()
    run.round(1, solved=5)
    results: list[str] = []
    plain = Ledger.results

    def refuse(self: Ledger, step: str) -> None:
        raise AssertionError(f"the trajectories of {step} were read")

    def count(self: Ledger, step: str) -> object:
        results.append(step)
        return plain(self, step)

    # What a look costs is which methods of the ledger it calls; there is no seam between the two.
    monkeypatch.setattr(Ledger, "trajectories", refuse)
    monkeypatch.setattr(Ledger, "results", count)
    lookout = Lookout(run.root)
    lookout.look(START)
    once = len(results)
    lookout.look(START + 1)
    assert once > 0 and len(results) == once
    run.planned(2)
    lookout.look(START + 2)
    assert len(results) > once


def test_a_ledger_of_the_first_schema_is_shown_as_it_is(run: MadeRun) -> None:
    run.before_the_rounds()
    run.ledger.close()
    with sqlite3.connect(run.root / "ledger.db") as base:
        base.executescript(
            "DROP TABLE decisions; DROP INDEX rollouts_told; ALTER TABLE rollouts DROP COLUMN tokens; PRAGMA user_version=1;"
        )
    found = seen(run, DEAD)
    assert (found.decisions, found.cost.spent.tokens, len(found.steps)) == ((), 0, 1)
    with sqlite3.connect(run.root / "ledger.db") as base:
        assert base.execute("PRAGMA user_version").fetchone() == (1,)


@pytest.mark.parametrize(("limit", "read"), [(2, False), (9, True)])
def test_pairs_are_counted_only_where_a_dpo_round_may_be_what_is_left(
    limit: int, read: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = MadeRun(tmp_path / "w", [f"rounds.limit={limit}", "rounds.most_samples=2"])
    run.before_the_rounds()
    for number in (1, 2, 3):
        run.round(number, solved=9)
    steps: list[str] = []
    plain = Ledger.trajectories

    def note(self: Ledger, step: str) -> object:
        steps.append(step)
        return plain(self, step)

    monkeypatch.setattr(Ledger, "trajectories", note)  # as above: what a look costs has no seam
    found = seen(run)
    assert found.next.startswith("no further round: ")
    assert ("collect-1" in steps) is read


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("dense", [False, True])
def test_the_view_fits_the_terminal(run: MadeRun, width: int, dense: bool) -> None:
    run.before_the_rounds()
    run.round(1, solved=5, why="first adapters: promoted")
    run.planned(2)
    run.rolled_out("collect-1", ["t0", "t1"], solved=1, total=10)
    shown = text(seen(run), width, dense=dense).splitlines()
    assert max(map(len, shown)) <= width
    assert not dense or width < 80 or len(shown) <= 24
    assert any("25%" in row and "promoted" in row for row in shown), "no figure is cut off"
