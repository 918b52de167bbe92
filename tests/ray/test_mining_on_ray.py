from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from forge.config import MiningConfig
from forge.errors import HistoryError
from forge.mining.on_ray import MiningCounts, mine
from forge.records import STAGES
from forge.store.parquet import read_examples
from tests.small_repos import practice


@pytest.fixture(scope="module")
def running_ray() -> Iterator[None]:
    folder = tempfile.mkdtemp(prefix="fr-")
    ray.init(num_cpus=2, include_dashboard=False, _temp_dir=folder, object_store_memory=80 * 2**20, logging_level="warning")
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def test_two_repositories_and_a_bad_one_become_parquet_with_counts(running_ray: None, tmp_path: Path) -> None:
    repos = {name: practice(tmp_path / name).path for name in ("one", "two")} | {"bad": tmp_path / "nowhere"}
    seen: list[MiningCounts] = []
    counts = mine(repos, tmp_path / "examples", MiningConfig(), heldout={("one", "pkg/birch.py")}, style="brief", progress=seen.append)
    assert counts.repositories == 3
    assert list(counts.failures) == ["bad"]
    assert counts.commits == counts.survivors + sum(counts.drops.values())
    assert seen[-1] == counts
    rows = {stage: read_examples(tmp_path / "examples" / stage) for stage in STAGES}
    assert {stage: len(found) for stage, found in rows.items()} == counts.examples
    assert {row.lineage.repo for found in rows.values() for row in found} == {"one", "two"}
    assert not [row for found in rows.values() for row in found if row.lineage.repo == "one" and "birch" in row.model_dump_json()]


def test_mining_again_reads_what_is_there_and_other_settings_replace_it(running_ray: None, tmp_path: Path) -> None:
    repos = {"one": practice(tmp_path / "one").path}
    first = mine(repos, tmp_path / "examples", MiningConfig())
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("examples/*/*.parquet")}
    assert mine(repos, tmp_path / "examples", MiningConfig()) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("examples/*/*.parquet")} == files
    other = mine(repos, tmp_path / "examples", MiningConfig(negatives=1))
    assert other.examples["relevance"] < first.examples["relevance"]
    assert sum(len(read_examples(tmp_path / "examples" / stage)) for stage in STAGES) == sum(other.examples.values())


def test_nothing_readable_is_one_clear_error(running_ray: None, tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="is no folder"):
        mine({"bad": tmp_path / "nowhere"}, tmp_path / "examples", MiningConfig())
