from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from forge.config import TasksConfig
from forge.errors import HistoryError
from forge.fakes.sandbox import FakeProvider
from forge.mining.history import open_history
from forge.records import Task
from forge.store.parquet import read_tasks
from forge.tasks.on_ray import Means, TaskCounts, TaskSet, build_tasks, heldout_files
from tests.small_repos import practice

CONFIG = TasksConfig(train=12, heldout=8, transfer=4, proof_runs=1)
STEMS = tuple(f"m{number}" for number in range(10))


@pytest.fixture(scope="module")
def running_ray() -> Iterator[None]:
    folder = tempfile.mkdtemp(prefix="fr-")
    ray.init(num_cpus=2, include_dashboard=False, _temp_dir=folder, object_store_memory=80 * 2**20, logging_level="warning")
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def repositories(root: Path) -> dict[str, Path]:
    return {name: practice(root / name, STEMS).path for name in ("near", "far")}


def build(root: Path, repos: dict[str, Path], config: TasksConfig = CONFIG, seen: list[TaskCounts] | None = None) -> TaskSet:
    return build_tasks(
        repos,
        root / "tasks",
        config,
        # The fake runs tests in the worker's own process, where two runs at once would share modules.
        Means(open_history=open_history, make_provider=FakeProvider, trees=root / "trees", run_id="test", concurrency=1),
        transfer={"far"},
        progress=seen.append if seen is not None else None,
    )


def without_proof(tasks: tuple[Task, ...]) -> list[Task]:
    return [task.model_copy(update={"proof": None}) for task in tasks]


def test_targets_are_met_sides_are_apart_and_a_second_run_takes_what_is_there(running_ray: None, tmp_path: Path) -> None:
    repos = repositories(tmp_path) | {"bad": tmp_path / "nowhere"}
    seen: list[TaskCounts] = []
    made = build(tmp_path, repos, seen=seen)
    assert made.counts.found == made.counts.wanted == {"train": 12, "heldout": 8, "transfer": 4}
    assert seen[-1].tried == made.counts.tried
    assert made.counts.refused["commit: unreadable repository"] == 1
    assert read_tasks(tmp_path / "tasks" / "tasks.parquet") == list(made.tasks)
    train = {(task.repo, path) for task in made.tasks if task.side == "train" for path in task.files}
    held = {(task.repo, path) for task in made.tasks if task.side == "heldout" for path in task.files}
    assert not train & held and held <= set(made.heldout_files) and not train & set(made.heldout_files)
    assert made.heldout_files == heldout_files(repos, CONFIG, open_history=open_history, transfer={"far"})
    assert all(task.proof and task.proof.gold_passed and task.proof.noop_failed for task in made.tasks)
    lines = (tmp_path / "tasks" / "journal.jsonl").read_text().splitlines()
    again = build(tmp_path, repos)
    assert again.tasks == made.tasks
    assert [line for line in (tmp_path / "tasks" / "journal.jsonl").read_text().splitlines() if line] == lines
    more = build(tmp_path, repos, CONFIG.model_copy(update={"train": 14}))
    assert set(made.tasks) <= set(more.tasks)
    assert more.counts.found["train"] == 14


def test_an_interrupted_run_ends_with_the_same_tasks(running_ray: None, tmp_path: Path) -> None:
    repos = repositories(tmp_path)

    class EnoughError(Exception):
        pass

    def stop(counts: TaskCounts) -> None:
        if counts.tried >= 10:
            raise EnoughError

    whole = build(tmp_path / "whole", repos)
    with pytest.raises(EnoughError):
        build_tasks(
            repos,
            tmp_path / "cut" / "tasks",
            CONFIG,
            Means(open_history=open_history, make_provider=FakeProvider, trees=tmp_path / "cut" / "trees", run_id="test", concurrency=1),
            transfer={"far"},
            progress=stop,
        )
    assert without_proof(build(tmp_path / "cut", repos).tasks) == without_proof(whole.tasks)


def test_no_readable_repository_is_one_clear_error(running_ray: None, tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="is no folder"):
        build(tmp_path, {"bad": tmp_path / "nowhere"})
