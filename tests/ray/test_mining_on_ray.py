from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from forge.config import TeacherConfig
from forge.errors import HistoryError, TeacherRefusedError
from forge.mining.folder import MinedFolder
from forge.mining.on_ray import MiningProgress, mine
from forge.mining.row import Row
from forge.records import STAGES
from forge.store.parquet import read_examples, read_records
from jobs.wiring import TeacherFactory
from tests.chat_endpoint import chat_endpoint
from tests.mined import EVERY_LICENCE
from tests.small_repos import practice


@pytest.fixture(scope="module")
def running_ray() -> Iterator[None]:
    folder = tempfile.mkdtemp(prefix="fr-")
    ray.init(num_cpus=2, include_dashboard=False, _temp_dir=folder, object_store_memory=80 * 2**20, logging_level="warning")
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def test_two_repositories_and_a_bad_one_become_parquet_with_counts(running_ray: None, tmp_path: Path) -> None:
    repos = {name: str(practice(tmp_path / name).path) for name in ("one", "two")} | {"bad": str(tmp_path / "nowhere")}
    folder, seen = MinedFolder(tmp_path / "mined"), list[MiningProgress]()
    counts = mine(repos, folder, EVERY_LICENCE, heldout={("one", "pkg/birch.py")}, style="brief", progress=seen.append)
    assert counts.repositories == 3
    assert list(counts.failures) == ["bad"]
    assert counts.commits == counts.survivors + sum(counts.drops.values())
    assert seen[-1].counts == counts and list(dict.fromkeys(one.step for one in seen)) == ["survey", "read", "compare", "finish"]
    rows = {stage: read_examples(folder.examples / stage) for stage in STAGES}
    assert {stage: len(found) for stage, found in rows.items()} == counts.examples
    assert {row.lineage.repo for found in rows.values() for row in found} == {"one", "two"}
    assert not [row for found in rows.values() for row in found if row.lineage.repo == "one" and "birch" in row.model_dump_json()]
    assert len(read_records(folder.commits, Row)) == counts.survivors


def test_mining_again_reads_what_is_there_and_other_settings_replace_it(running_ray: None, tmp_path: Path) -> None:
    repos, folder = {"one": str(practice(tmp_path / "one").path)}, MinedFolder(tmp_path / "mined")
    first = mine(repos, folder, EVERY_LICENCE)
    files = {path: path.stat().st_mtime_ns for path in folder.root.glob("**/*.parquet")}
    assert mine(repos, folder, EVERY_LICENCE) == first
    assert {path: path.stat().st_mtime_ns for path in folder.root.glob("**/*.parquet")} == files
    other = mine(repos, folder, EVERY_LICENCE.model_copy(update={"negatives": 1}))
    assert other.examples["relevance"] < first.examples["relevance"]
    assert sum(len(read_examples(folder.examples / stage)) for stage in STAGES) == sum(other.examples.values())


def test_a_teacher_is_asked_from_the_workers_and_never_twice(running_ray: None, tmp_path: Path) -> None:
    repo = practice(tmp_path / "one")
    good = (repo.path / "pkg/apple.py").read_text()
    repo.commit({"pkg/apple.py": good.replace("result = 0", "result = 1 - 1")}, "wip")
    folder = MinedFolder(tmp_path / "mined")
    with chat_endpoint(lambda _: "<instruction>Sum up from nothing.</instruction>") as endpoint:
        teacher = TeacherFactory(config=TeacherConfig(model="m", url=endpoint.url), folder=str(folder.teacher))
        counts = mine({"one": str(repo.path)}, folder, EVERY_LICENCE, make_teacher=teacher, teacher="m")
        asked = len(endpoint.bodies)
        assert counts.spent.asked == asked > 0
        shutil.rmtree(folder.commits)
        shutil.rmtree(folder.finished)
        again = mine({"one": str(repo.path)}, folder, EVERY_LICENCE, make_teacher=teacher, teacher="m")
        assert (again.spent.asked, again.spent.cached) == (0, asked) and len(endpoint.bodies) == asked
        endpoint.failing = [(401, {})] * 20
        shutil.rmtree(folder.teacher)
        with pytest.raises(TeacherRefusedError, match="told to fail with 401"):
            mine({"one": str(repo.path)}, folder, EVERY_LICENCE, make_teacher=teacher, teacher="other")
    assert [row.instruction for row in read_records(folder.commits, Row) if row.instruction_by == "teacher"]


def test_nothing_readable_is_one_clear_error(running_ray: None, tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="is no folder"):
        mine({"bad": str(tmp_path / "nowhere")}, MinedFolder(tmp_path / "mined"), EVERY_LICENCE)
