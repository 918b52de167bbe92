"""The ablation of a cold start on the smallest sizes that still mean something, killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forge.evals.ablation import BASE, COMBINED, MATCHED, PER_STAGE, Ablation
from forge.records import STAGES
from forge.store.ledger import Ledger

ROOT = Path(__file__).parents[2]
SMALLEST = (
    "history.practice.modules=10",
    "history.practice.commits=120",
    "history.practice.faulty=0.5",
    "tasks.train=8",
    "tasks.heldout=8",
    "tasks.transfer=3",
    "tasks.proof_runs=1",
    "rounds.limit=1",
    "stages.analysis.max_steps=4",
    "stages.relevance.max_steps=5",
    "stages.planning.max_steps=5",
    "stages.generation.max_steps=14",
    "stages.review.max_steps=4",
    "ablation.rates=[0.5, 1.0]",
    "ray.port=6487",
    "ray.dashboard_port=8287",
    "serve.port=8187",
    "serve.max_rank=128",
)
ARMS = (PER_STAGE, COMBINED, MATCHED)


def _command(workspace: Path) -> list[str]:
    options = ["--seeds", "1", "--match", "parameters"]
    return [sys.executable, "-m", "jobs.cli", "ablate", "configs/quickstart.yaml", *options, f"workspace={workspace}", *SMALLEST]


def _run(workspace: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    ended = subprocess.run(_command(workspace), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    return ended.stdout


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose first driver was killed with its Ray while the stages' adapters were evaluated, and whose second run ended."""
    folder = tmp_path_factory.mktemp("ablated") / "workspace"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    first = subprocess.Popen(_command(folder), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    _wait_for(folder / "ablation" / "cold-start" / "ledger.db", "evaluate-per-stage-0", first)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert "goes on from what is there" in _run(folder)
    return folder


def _wait_for(ledger: Path, step: str, run: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline:
        assert run.poll() is None, f"the first run ended before {step}"
        if ledger.exists():
            with Ledger(ledger) as reader:
                if reader.outcomes(step):
                    return
        time.sleep(0.5)
    raise AssertionError(f"no rollout of {step} within fifteen minutes")


@pytest.fixture(scope="module")
def found(workspace: Path) -> Ablation:
    return Ablation.model_validate_json((workspace / "ablation" / "cold-start" / "ablation.json").read_text())


def test_every_arm_is_evaluated_on_the_same_tasks_each_once(workspace: Path, found: Ablation) -> None:
    assert {arm.name for arm in found.arms} == {*ARMS, BASE}
    with Ledger(workspace / "ablation" / "cold-start" / "ledger.db") as ledger:
        asked = {step: [(t.task_id, t.sample) for t in ledger.trajectories(step)] for step in ledger.steps()}
    assert set(asked) == {"evaluate-base", *(f"evaluate-{name}-0" for name in ARMS)}
    assert all(len(keys) == len(set(keys)) == 11 for keys in asked.values())
    assert len({tuple(keys) for keys in asked.values()}) == 1


def test_every_trained_arm_saw_the_same_rows_as_often(found: Ablation) -> None:
    made = {arm.name: arm.runs[0].trained for arm in found.arms}
    assert made.pop(BASE) is None
    assert len({one.taken() for one in made.values() if one is not None}) == 1
    sizes = {name: one.parameters for name, one in made.items() if one is not None}
    assert sizes[MATCHED] == sizes[PER_STAGE] == 3 * sizes[COMBINED], "ranks 16, 16, 16, 32, 16 against 32 and 96"


def test_one_adapter_answers_for_every_stage_and_is_the_one_that_was_stored(workspace: Path) -> None:
    root = workspace / "ablation" / "cold-start"
    with Ledger(root / "ledger.db") as ledger:
        answered = {name: _models(ledger, f"evaluate-{name}-0") for name in ARMS}
    for name in (COMBINED, MATCHED):
        ids = {model for models in answered[name].values() for model in models}
        assert len(ids) == 1 and next(iter(ids)).startswith("combined@")
        assert (root / "adapters" / next(iter(ids)).replace("@", "/") / "manifest.json").exists()
    assert answered[COMBINED] != answered[MATCHED]
    assert all(model.startswith(f"{stage}@") for stage, models in answered[PER_STAGE].items() for model in models)


def _models(ledger: Ledger, step: str) -> dict[str, set[str]]:
    turns = [turn for found in ledger.trajectories(step) for turn in found.turns]
    return {stage: {turn.model_id for turn in turns if turn.stage == stage} for stage in STAGES}


def test_the_run_around_it_is_left_as_it_was(workspace: Path) -> None:
    assert not (workspace / "ledger.db").exists() and not (workspace / "adapters").exists() and not (workspace / "rounds").exists()


def test_the_same_command_again_says_the_same_and_trains_nothing(workspace: Path, found: Ablation) -> None:
    told = _run(workspace)
    assert all(sentence in told for sentence in found.verdict)
    again = Ablation.model_validate_json((workspace / "ablation" / "cold-start" / "ablation.json").read_text())
    assert (again.arms, again.contrasts) == (found.arms, found.contrasts)
    assert "▸ train-" not in told and "▸ evaluate-" not in told
