"""The benchmark that waits for a card runs from end to end without one, on small shapes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl")


def test_every_part_gives_its_figures(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--small", "--batches", "1", "--json", str(tmp_path / "figures.json")]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True)
    result = json.loads((tmp_path / "figures.json").read_text())
    assert result["failed"] == []
    measured = {(row["backend"], row["method"]) for row in result["rows"] if row.get("tokens_per_s", 0) > 0}
    assert measured == {("plain", "sft"), ("trl", "sft"), ("trl", "dpo")}
    assert all(row["foretold_bytes"] > 0 for row in result["rows"] if row["backend"] == "trl")
    (turns,) = [row for row in result["rows"] if row["backend"] == "turns"]
    assert turns["seconds"]["training, its load included"] > 0
