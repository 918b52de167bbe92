"""`forge tasks inject` on a small repository: planted, interrupted, gone on with, and shown."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from forge.config import InjectConfig, TasksConfig
from forge.errors import HistoryError
from forge.fakes.sandbox import FakeProvider
from forge.mining.history import open_history
from forge.records import EASIER, Easier, Task
from forge.store.parquet import read_tasks
from forge.store.trees import TreeStore
from forge.tasks.on_ray import ALL, Injected, Means, TaskCounts, easier_tasks, inject_tasks
from jobs.launching.launch import resolved
from jobs.tasks import inject as job
from tests.small_repos import practice

INJECT = InjectConfig(count=10, max_failing=0.9)


@pytest.fixture(scope="module")
def running_ray() -> Iterator[None]:
    folder = tempfile.mkdtemp(prefix="fr-")
    ray.init(num_cpus=2, include_dashboard=False, _temp_dir=folder, object_store_memory=80 * 2**20, logging_level="warning")
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def plant(root: Path, repo: Path, inject: InjectConfig = INJECT, stop_at: int = 10**6) -> Injected:
    def progress(counts: TaskCounts) -> None:
        if counts.tried >= stop_at:
            raise InterruptedError

    return inject_tasks(
        {"small": repo},
        root / "tasks",
        TasksConfig(proof_runs=1),
        inject,
        # The fake runs tests in the worker's own process, where two runs at once would share modules.
        Means(open_history=open_history, make_provider=FakeProvider, trees=root / "trees", run_id="test", concurrency=1),
        progress=progress,
    )


def test_an_interrupted_run_goes_on_and_more_tasks_keep_the_first_ones(running_ray: None, tmp_path: Path) -> None:
    repo = practice(tmp_path / "small").path
    whole = plant(tmp_path / "whole", repo)
    assert len(whole.tasks) == whole.counts.found[ALL] == 10
    with pytest.raises(InterruptedError):
        plant(tmp_path / "cut", repo, stop_at=4)
    again = plant(tmp_path / "cut", repo)
    assert [task.id for task in again.tasks] == [task.id for task in whole.tasks]
    assert read_tasks(tmp_path / "cut" / "tasks") == list(again.tasks)
    more = plant(tmp_path / "cut", repo, INJECT.model_copy(update={"count": 12}))
    assert more.tasks[:10] == again.tasks and len(more.tasks) == 12
    files = TreeStore(tmp_path / "cut" / "trees").files(more.tasks[0].tree)
    assert files[more.tasks[0].gold[0].path].decode() == more.tasks[0].gold[0].content


def test_easier_tasks_are_proven_training_tasks_and_the_same_when_asked_for_again(running_ray: None, tmp_path: Path) -> None:
    repo = practice(tmp_path / "small").path
    batch = Easier(round=3, count=4, failing=0.1)
    means = Means(open_history=open_history, make_provider=FakeProvider, trees=tmp_path / "trees", run_id="test", concurrency=1)

    def made(output: str, batch: Easier = batch) -> tuple[Task, ...]:
        return easier_tasks({"small": repo}, tmp_path / output, TasksConfig(proof_runs=1), batch, means)

    found = made("easier-2")
    assert len(found) == 4 and all(task.id.startswith(EASIER) and task.side == "train" and task.proof for task in found)
    assert made("easier-2") == found
    kinds = {task.operator for task in found}
    assert {task.operator for task in made("easier-3", batch.model_copy(update={"operators": tuple(sorted(kinds)[:1])}))} <= kinds


def test_the_job_plants_in_real_boxes_and_shows_a_table(running_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repo = practice(tmp_path / "small").path
    config = resolved(
        [str(repo), "sandbox.workers=1", "tasks.proof_runs=1"], tmp_path / "made", [], {"inject.count": 3, "inject.max_failing": 0.9}
    )
    found = job.run(config)
    assert len(found.tasks) == 3
    shown = capsys.readouterr().out
    assert "3 tasks; the tests noticed" in shown and "operators" in shown and "refused:" in shown
    assert (tmp_path / "made" / "tasks" / "injected.parquet").is_file()
    again = job.run(config)
    assert again.tasks == found.tasks
    assert "goes on from what is there" in capsys.readouterr().out


def test_repositories_without_a_usable_bug_are_one_sentence(running_ray: None, tmp_path: Path) -> None:
    repo = practice(tmp_path / "small").path
    config = resolved([str(repo), "inject.per_function=1", "inject.attempts=1"], tmp_path / "none", [], {"inject.max_failing": 0.01})
    with pytest.raises(HistoryError, match=r"no planted bug became a task; refused: .*too visible"):
        job.run(config)
