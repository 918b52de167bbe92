"""Our backend beside the real Unsloth, on CPU, in a process of its own: it patches TRL, PEFT and transformers as it is imported."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from forge.training.trl import TrlTrainer
from tests.train_jobs import make_job

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / ".unsloth"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("unsloth")


@pytest.fixture(scope="module")
def findings(folder: Path) -> dict[str, dict[str, Any]]:
    if not (PACKAGE / "unsloth").is_dir():
        pytest.skip("the package 'unsloth' is not there; run make unsloth")
    known = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(PACKAGE)]),
        "UNSLOTH_COMPILE_LOCATION": str(folder / "compiled"),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.unsloth.wiring", str(folder)],
        cwd=ROOT, env=known, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = [json.loads(line.removeprefix("finding:")) for line in done.stdout.splitlines() if line.startswith("finding:")]
    return {finding.pop("finding"): finding for finding in told}


def test_the_trainers_are_those_of_unsloth(findings: dict[str, dict[str, Any]]) -> None:
    assert findings["trainers"] == {"sft": "UnslothSFTTrainer", "dpo": "UnslothDPOTrainer"}


def test_unsloth_knows_every_argument_that_it_is_given(findings: dict[str, dict[str, Any]]) -> None:
    assert findings["load"] == findings["attach"] == {"unknown": []}


def test_rows_are_laid_end_to_end_and_never_cut(findings: dict[str, dict[str, Any]]) -> None:
    assert findings["layout"] == {"padding_free": True, "max_length": None, "loss": "nll"}


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_losses_are_those_of_plain_trl(findings: dict[str, dict[str, Any]], folder: Path, method: str) -> None:
    job = make_job(folder / "base", folder, method=method, output=str(folder / f"plain-{method}"))
    plain = TrlTrainer(threads=1).train(job).metrics
    for name in ("first_train_loss", "train_loss", "first_eval_loss", "eval_loss"):
        assert findings[method][name] == pytest.approx(plain[name], abs=1e-3), name
    assert findings[method]["eval_loss"] < findings[method]["first_eval_loss"]
