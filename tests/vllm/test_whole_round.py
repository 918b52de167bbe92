"""The whole loop on the smallest sizes that still mean something: real repositories, boxes, training, serving, grading."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forge.records import Task
from forge.rounds.select import leaked
from forge.store.ledger import Ledger
from forge.store.parquet import read_examples, read_records

ROOT = Path(__file__).parents[2]
SMALLEST = (
    "history.practice.modules=10",
    "history.practice.commits=120",
    "history.practice.faulty=0.5",
    "tasks.train=16",
    "tasks.heldout=10",
    "tasks.transfer=3",
    "tasks.proof_runs=1",
    "rounds.limit=2",
    "rounds.samples=3",
    "rounds.bootstrap_solves=1",
    "rounds.scaffold.trials=2",
    "rounds.scaffold.every=1",
    "rounds.scaffold.tasks=6",
    "rounds.best_of=2",
    "ray.port=6477",
    "ray.dashboard_port=8277",
    "serve.port=8177",
)


def _command(workspace: Path) -> list[str]:
    return [sys.executable, "-m", "jobs.cli", "improve", "configs/quickstart.yaml", f"workspace={workspace}", *SMALLEST]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose first driver was killed with its Ray during a rollout phase, and whose second run ended."""
    folder = tmp_path_factory.mktemp("whole") / "workspace"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    first = subprocess.Popen(_command(folder), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    _wait_for_rollouts(folder / "ledger.db", first)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    second = subprocess.run(_command(folder), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert second.returncode == 0, second.stdout[-3000:] + second.stderr[-3000:]
    assert "goes on from what is there" in second.stdout
    return folder


def _wait_for_rollouts(ledger: Path, run: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        assert run.poll() is None, "the first run ended before it had rollouts"
        if ledger.exists():
            with Ledger(ledger) as reader:
                if reader.outcomes():
                    return
        time.sleep(0.5)
    raise AssertionError("no rollout within ten minutes")


def _solved(workspace: Path) -> bool:
    with Ledger(workspace / "ledger.db") as ledger:
        return any(ledger.outcomes(step).get("solved", 0) for step in ("probe-1", "collect-1"))


def test_the_report_says_what_was_measured(workspace: Path) -> None:
    report = json.loads((workspace / "report.json").read_text())
    names = [step["name"] for step in report["heldout"]["steps"]]
    # A round in which nothing was solved has nothing to learn from: the loop says so and ends with the cold start.
    # And settings of the agent that no trial beats are not evaluated again.
    assert [name for name in names if name != "scaffold-2"] == ["baseline", "cold-start", *(["rft-1"] if _solved(workspace) else [])]
    assert report["heldout"]["tasks"] == 10
    assert report["base"]["sha256"] and report["sandbox"]
    assert report["best_of"]["n"] == 2 and report["outlook"].startswith("no further round") and report["spent"]["tokens"] > 0
    assert {"wall_s", "phase_s", "outcomes", "seed"} <= report.keys()
    assert all(0 <= step["ci95"]["low"] <= step["pass_at_1"] <= step["ci95"]["high"] <= 1 for step in report["heldout"]["steps"])
    assert "<svg" in (workspace / "report.html").read_text()


def test_a_killed_run_loses_no_rollout_and_counts_none_twice(workspace: Path) -> None:
    with Ledger(workspace / "ledger.db") as ledger:
        for step in ("evaluate-baseline", "evaluate-cold-start", *(["evaluate-rft-1"] if _solved(workspace) else [])):
            keys = [(t.task_id, t.sample) for t in ledger.trajectories(step)]
            assert len(keys) == len(set(keys)) == 13
        assert len(ledger.trajectories("probe-1")) == 16 * 2
        assert len(ledger.trajectories("collect-1")) <= 16


def test_every_decision_is_in_the_ledger_with_its_evidence(workspace: Path) -> None:
    with Ledger(workspace / "ledger.db") as ledger:
        decided = {(decision.round, decision.name): decision for decision in ledger.decisions()}
        reports = ledger.rounds()
    assert {(1, "plan"), (1, "gate"), (2, "plan"), (2, "curriculum"), (2, "bootstrap")} <= decided.keys()
    assert all(decision.why and decision.choice for decision in decided.values())
    assert "16 tasks probed 2 times" in decided[2, "curriculum"].why
    if _solved(workspace):
        assert {(2, "gate"), (3, "trial 1"), (3, "trial 2"), (3, "scaffold")} <= decided.keys()
        assert [report.plan.kind for report in reports if report.plan] == ["cold-start", "rft", "scaffold"]


def test_nothing_of_a_heldout_task_is_in_any_training_row(workspace: Path) -> None:
    tasks = read_records(workspace / "tasks" / "tasks.parquet", Task)
    heldout = [task for task in tasks if task.side != "train"]
    files = sorted(workspace.glob("rounds/*/rows/*.parquet")) + sorted(workspace.glob("examples/*/*.parquet"))
    assert heldout and len(files) >= (10 if _solved(workspace) else 5)
    rows = [row for file in files for row in read_examples(file)]
    assert leaked(rows, heldout) == []
    gold = {(task.repo, edit.content) for task in heldout for edit in task.gold if edit.content}
    assert not [row for row in rows for repo, content in gold if row.lineage.repo == repo and content in row.messages[-1].content]
    sides = {(task.repo, path): task.side for task in tasks for path in task.files}
    assert all(sides[task.repo, path] == task.side for task in tasks for path in task.files)


def test_every_adapter_says_that_it_comes_from_the_frozen_base(workspace: Path) -> None:
    report = json.loads((workspace / "report.json").read_text())
    manifests = [json.loads(file.read_text()) for file in workspace.glob("adapters/*/*/manifest.json")]
    assert len(manifests) >= 5
    assert all(report["base"]["sha256"] in json.dumps(manifest) for manifest in manifests)


def test_rollout_rows_are_trained_on_the_ids_that_were_sampled(workspace: Path) -> None:
    rows = [row for file in workspace.glob("rounds/2/rows/*.parquet") for row in read_examples(file)]
    sampled = [row for row in rows if row.lineage.trajectory_id]
    assert bool(sampled) == _solved(workspace)
    assert all(row.prompt_ids and row.completion_ids for row in sampled)
