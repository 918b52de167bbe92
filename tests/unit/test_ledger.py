"""The ledger counts every rollout exactly once, whatever gets killed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from forge.errors import StoreError
from forge.records import Decision, Interval, Outcome, RoundPlan, RoundReport, StepReport, Trajectory, Turn, Verdict
from forge.store.ledger import Ledger, RolloutKey


def trajectory(task: str = "t1", sample: int = 0, outcome: Outcome = Outcome.SOLVED, step: str = "collect-1") -> Trajectory:
    turn = Turn(stage="review", model_id="review@r0-1", messages=(), text="yes", prompt_ids=(1, 2), completion_ids=(3,), logprobs=(-0.5,))
    return Trajectory(
        id=f"{step}-{task}-{sample}",
        task_id=task,
        repo="r",
        round=1,
        step=step,
        sample=sample,
        seed=7,
        temperature=0.8,
        turns=(turn,),
        outcome=outcome,
    )


def step_report(name: str) -> StepReport:
    return StepReport(name=name, round=0, pass_at_1=0.5, ci95=Interval(low=0.4, high=0.6), solved=5, tasks=10, promoted=True)


def test_a_rollout_counts_once(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.record_rollout(trajectory())
        assert not ledger.record_rollout(trajectory(outcome=Outcome.FAILED))
        assert ledger.record_rollout(trajectory(sample=1, outcome=Outcome.FAILED))
        assert ledger.outcomes() == {"solved": 1, "failed": 1} == ledger.outcomes("collect-1")
        assert ledger.outcomes("collect-2") == {}
        assert ledger.recorded("collect-1") == {RolloutKey("collect-1", "t1", 0), RolloutKey("collect-1", "t1", 1)}


def test_an_infrastructure_error_is_due_again_and_gives_way_to_a_result(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.record_rollout(trajectory(outcome=Outcome.INFRA_ERROR))
        assert ledger.recorded("collect-1", infra_errors=False) == set()
        assert len(ledger.recorded("collect-1")) == 1
        assert ledger.record_rollout(trajectory(outcome=Outcome.FAILED))
        assert ledger.outcomes() == {"failed": 1}


def test_trajectories_are_the_same_before_and_after_compaction(tmp_path: Path) -> None:
    path = tmp_path / "rounds" / "1" / "trajectories" / "collect-1.parquet"
    with Ledger(tmp_path / "ledger.db") as ledger:
        for sample in (1, 0):
            ledger.record_rollout(trajectory(sample=sample))
        before = ledger.trajectories("collect-1")
        assert [item.sample for item in before] == [0, 1]
        assert ledger.compact("collect-1", path) == 2
        assert ledger.trajectories("collect-1") == before
        ledger.record_rollout(trajectory(task="t0"))
        assert ledger.compact("collect-1", path) == 3
        assert [item.task_id for item in ledger.trajectories("collect-1")] == ["t0", "t1", "t1"]
        assert not ledger.record_rollout(trajectory())


def test_a_kill_between_parquet_and_ledger_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rounds" / "1" / "trajectories" / "collect-1.parquet"
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.record_rollout(trajectory())
        path.parent.mkdir(parents=True)
        path.write_bytes(b"whatever an interrupted compaction left")
        assert ledger.compact("collect-1", path) == 1
        assert ledger.trajectories("collect-1") == [trajectory()]


def test_a_missing_parquet_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "rounds" / "x.parquet"
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.record_rollout(trajectory())
        ledger.compact("collect-1", path)
        path.unlink()
        with pytest.raises(StoreError, match="cannot read"):
            ledger.trajectories("collect-1")


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_ledger import Ledger, trajectory
ledger = Ledger(Path(sys.argv[1]))
for sample in range(100_000):
    ledger.record_rollout(trajectory(sample=sample))
    print(sample, flush=True)
"""


def test_what_a_killed_driver_had_recorded_is_there(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(20)]
    process.kill()
    said += process.stdout.readlines()
    process.wait()
    with Ledger(path) as ledger:
        found = [item.sample for item in ledger.trajectories("collect-1")]
    acknowledged = sum(line.endswith("\n") for line in said)
    assert found == list(range(len(found)))
    assert acknowledged <= len(found) <= acknowledged + 1


def test_phases_add_up_their_starts_and_survive_a_kill(tmp_path: Path) -> None:
    clock = iter([0.0, 10.0, 100.0, 105.0, 200.0])
    with Ledger(tmp_path / "ledger.db", now=lambda: next(clock)) as ledger:
        ledger.start_phase("mine")
        ledger.touch_phase("mine")
    with Ledger(tmp_path / "ledger.db", now=lambda: next(clock)) as ledger:
        assert not ledger.is_done("mine")
        ledger.start_phase("mine")
        ledger.finish_phase("mine", {"examples": 3})
        phase = ledger.phase("mine")
        assert phase is not None
        assert (phase.state, phase.seconds, phase.runs, phase.detail) == ("done", 15.0, 2, {"examples": 3})
        assert ledger.is_done("mine")
        with pytest.raises(StoreError, match="never started"):
            ledger.finish_phase("train")


def test_verdicts_rounds_and_promotions_are_remembered(tmp_path: Path) -> None:
    report = RoundReport(
        round=0, name="cold start", examples={"review": 3}, step=step_report("cold start"), decision="promoted", adapters={},
        agent={"judged": 2.0, "retry_temperature": 0.8, "prompts.planning": "configs/prompts/planning-cause-first.txt"},
    )  # fmt: skip
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.remember_verdicts([("k", Verdict(passed=True, reason="")), ("k", Verdict(passed=False, reason="later"))])
        ledger.record_round(report)
        ledger.promote({"review": "review@r0-1", "planning": "planning@r0-1"})
        ledger.promote({"review": "review@r1-1"})
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.verdict("k") == Verdict(passed=True, reason="")
        assert ledger.verdict("other") is None
        assert ledger.rounds() == [report]
        assert ledger.promoted() == {"review": "review@r1-1", "planning": "planning@r0-1"}
        assert len(ledger.promotions()) == 2


def test_a_ledger_of_another_schema_or_kind_is_refused(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "other.db") as base:
        base.execute("PRAGMA user_version=9")
    with pytest.raises(StoreError, match="schema 9"):
        Ledger(tmp_path / "other.db")
    (tmp_path / "text.db").write_text("not a database, but long enough to be looked at " * 30)
    with pytest.raises(StoreError, match="no ledger of forge"):
        Ledger(tmp_path / "text.db")


def test_a_ledger_of_the_first_schema_is_gone_on_with(tmp_path: Path) -> None:
    """It had no decisions and counted no tokens; everything else stays as it was."""
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.start_phase("tasks")
    with sqlite3.connect(tmp_path / "ledger.db") as base:
        base.executescript(
            "DROP TABLE decisions; DROP INDEX rollouts_told; ALTER TABLE rollouts DROP COLUMN tokens; PRAGMA user_version=1;"
        )
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert [phase.name for phase in ledger.phases()] == ["tasks"]
        assert (ledger.tokens(), ledger.decisions()) == (0, [])
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.tokens() == 0


def test_what_was_decided_first_stays_and_is_not_asked_for_again(tmp_path: Path) -> None:
    asked = []

    def decide(samples: int) -> tuple[Decision, RoundPlan]:
        asked.append(samples)
        return Decision(round=0, name="", choice="rft", why="because"), RoundPlan(round=2, kind="rft", samples=samples)

    with Ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.decide(2, "plan", RoundPlan, lambda: decide(3)).samples == 3
        assert ledger.decide(2, "plan", RoundPlan, lambda: decide(4)).samples == 3
        assert ledger.decide(3, "plan", RoundPlan, lambda: decide(5)).samples == 5
        assert [(d.round, d.name, d.why) for d in ledger.decisions()] == [(2, "plan", "because"), (3, "plan", "because")]
        assert len(ledger.decisions(3)) == 1
    assert asked == [3, 5]


def test_a_reader_sees_one_moment_and_keeps_no_writer_waiting(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as writer:
        writer.record_rollout(trajectory())
        with Ledger(tmp_path / "ledger.db", read_only=True) as reader:
            assert reader.outcomes() == {"solved": 1}
            writer.record_rollout(trajectory(sample=1))
            assert reader.outcomes() == {"solved": 1}
            with pytest.raises(sqlite3.OperationalError, match=r"transaction|readonly"):
                reader.start_phase("tasks")
        with Ledger(tmp_path / "ledger.db", read_only=True) as reader:
            assert reader.outcomes() == {"solved": 2}


def test_a_reader_sees_what_a_killed_writer_left_in_the_log(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from forge.store.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1])); ledger.start_phase('tasks'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "ledger.db")], check=False)
    assert (tmp_path / "ledger.db-wal").stat().st_size > 0
    with Ledger(tmp_path / "ledger.db", read_only=True) as reader:
        assert [(phase.name, phase.state) for phase in reader.phases()] == [("tasks", "running")]


def test_a_reader_makes_no_ledger_and_does_not_bring_an_older_one_up_to_date(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open"):
        Ledger(tmp_path / "none.db", read_only=True)
    assert list(tmp_path.iterdir()) == []
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.record_rollout(trajectory())
    with sqlite3.connect(tmp_path / "ledger.db") as base:
        base.executescript(
            "DROP TABLE decisions; DROP INDEX rollouts_told; ALTER TABLE rollouts DROP COLUMN tokens; PRAGMA user_version=1;"
        )
    with Ledger(tmp_path / "ledger.db", read_only=True) as reader:
        assert (reader.tokens(), reader.decisions(), reader.outcomes()) == (0, [], {"solved": 1})
    with sqlite3.connect(tmp_path / "ledger.db") as base:
        assert base.execute("PRAGMA user_version").fetchone() == (1,)


def test_a_ledger_in_a_folder_that_may_not_be_written_is_read_as_it_lies() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Ledger(folder / "ledger.db") as ledger:
            ledger.record_rollout(trajectory())
        folder.chmod(0o555)
        child = os.fork()
        if child == 0:  # as another user, where this one may write anywhere
            code = 1
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                with Ledger(folder / "ledger.db", read_only=True) as reader:
                    code = 0 if reader.outcomes() == {"solved": 1} else 1
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        folder.chmod(0o755)


def test_the_last_recorded_times_of_a_step_come_oldest_first(tmp_path: Path) -> None:
    times = iter([5.0, 1.0, 3.0, 4.0])
    with Ledger(tmp_path / "ledger.db", now=lambda: next(times)) as ledger:
        for sample in range(3):
            ledger.record_rollout(trajectory(sample=sample))
        ledger.record_rollout(trajectory(step="collect-2"))
        assert ledger.recorded_last("collect-1", 2) == [3.0, 5.0]
        assert ledger.recorded_last("nothing", 2) == []
