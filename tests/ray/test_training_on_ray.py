"""The training run on Ray: one worker for many jobs, killed and started again, told what it cannot train."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("trl")

import ray

from forge.config import TrainingConfig
from forge.errors import TrainingError
from forge.records import Example, Lineage, Message
from forge.seams import TrainJob
from forge.store.parquet import write_examples
from forge.training.on_ray import TrainingService
from forge.training.progress import TrainProgress
from forge.training.random_base import make_random_base

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    texts = [f"word {number} of {number % 7}" for number in range(40)]
    make_random_base(folder / "base", corpus=texts, vocabulary=300)
    lineages = [Lineage(repo="r", task_id=f"t{number}") for number in range(40)]
    examples = [
        Example(stage="review", messages=(Message(role="user", content=text),), completion=text[:6], lineage=lineage)
        for text, lineage in zip(texts, lineages, strict=True)
    ]
    write_examples(folder / "rows.parquet", examples)
    return folder


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[TrainingService]:
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    ray.init(
        address="local",  # never somebody else's cluster
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        runtime_env={"env_vars": environment},
    )
    try:
        with TrainingService(TrainingConfig(backend="trl", threads=1), storage=folder / "ray") as service:
            yield service
    finally:
        ray.shutdown()


def make_job(folder: Path, name: str, **changes: object) -> TrainJob:
    values = {
        "stage": "review",
        "base": str(folder / "base"),
        "rows": str(folder / "rows.parquet"),
        "output": str(folder / name),
        "rank": 4,
        "alpha": 8,
        "learning_rate": 1e-3,
        "epochs": 2.0,
        "batch_size": 8,
        "max_tokens": 128,
        "eval_fraction": 0.1,
        "patience": 99,
        "seed": 0,
    }
    return TrainJob.model_validate(values | changes)


def test_one_worker_trains_jobs_one_after_another_and_keeps_up_for_the_next_round(service: TrainingService, folder: Path) -> None:
    told: list[TrainProgress] = []
    results = service.train_all([make_job(folder, "one"), make_job(folder, "two", stage="planning")], told.append)
    first_worker = service.worker_pid()
    assert [result.stage for result in results] == ["review", "planning"]
    assert [Path(result.output).name for result in results] == ["one", "two"]
    assert all((Path(result.output) / "adapter_model.safetensors").exists() for result in results)
    assert {progress.stage for progress in told} == {"review", "planning"}
    assert any(progress.loss for progress in told) and any(progress.eval_loss for progress in told)

    assert service.train_all([make_job(folder, "one")], told.append) == results[:1], "finished jobs are not trained again"
    assert service.worker_pid() == first_worker


def test_a_job_that_is_refused_fails_its_round_with_the_reason_and_not_the_next_one(service: TrainingService, folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"review: .*is an adapter, not a base"):
        service.train_all([make_job(folder, "bad", base=str(folder / "one")), make_job(folder, "never")])
    assert not (folder / "never").exists()
    assert service.train_all([make_job(folder, "after")])[0].stage == "review"


def test_a_worker_killed_in_the_middle_is_started_again_and_goes_on_from_its_checkpoint(service: TrainingService, folder: Path) -> None:
    told: list[TrainProgress] = []
    killed: list[int] = []

    def kill_once(progress: TrainProgress) -> None:
        told.append(progress)
        pid = service.worker_pid()
        if progress.step >= 15 and not killed and pid:
            killed.append(len(told))
            os.kill(pid, signal.SIGKILL)

    result = service.train_all([make_job(folder, "killed", epochs=12.0)], kill_once)[0]
    restart = next(progress for progress in told[killed[0] :] if progress.loss is None and progress.eval_loss is None)
    assert restart.step >= 10, "an epoch has five steps, and a checkpoint lies at the end of each"
    assert result.metrics["epochs"] == 12
    assert (folder / "killed" / "adapter_model.safetensors").exists()
