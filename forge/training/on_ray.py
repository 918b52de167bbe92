"""One Ray Train worker that stays up and trains job after job.

A Ray Train run costs 10 to 23 s to start and its imports 10 to 20 s more (two busy cores), so five stages
times several rounds share one run: the worker asks a desk (an actor) for the next job, and the driver hands
jobs in and reads progress there. On a card that serving wants back, `close` ends the run and frees the GPU.

    driver: TrainingService ──submit, poll──► Desk ◄──next, finish── worker: _train_loop (Ray Train, 1 worker)

State that matters is on disk (checkpoints and `result.json` beside each output), which worker and driver
must both reach; the desk only passes jobs on. A killed worker is started again by Ray Train and gets its job
again; a killed driver's successor submits the same jobs, and finished ones are not trained again.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from forge.config import TrainingConfig
from forge.errors import ForgeError, TrainingError
from forge.observe.on_ray import actor_name
from forge.seams import Trainer, TrainJob, TrainResult
from forge.training.desk import Desk, News
from forge.training.pick import make_trainer
from forge.training.progress import Listener, TrainProgress, silent
from forge.training.trial import Trial

RESTARTS = 20
"""Worker restarts in the life of one run."""
POLL_S = 1.0
RUN_ENV = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # or `datasets` fingerprinting floods the log
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # 60 s by default: a starved machine never got a worker up
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
# No OMP_WAIT_POLICY=PASSIVE: on calm cores sleeping at barriers takes 1.6 times as long. Where other work keeps the
# cores busy it is the other way round, five to ten times (load 4 on two cores): there, set it in the environment.


class TrainingService:
    """Trains jobs in one long-lived Ray Train worker; use as a context manager or `close` it."""

    def __init__(
        self,
        config: TrainingConfig,
        *,
        storage: Path,
        name: str = "train",
        cpus: float = 0.5,
        keep_gpu: bool = False,
    ) -> None:
        """A service that has not started anything yet.

        `storage` is where Ray Train keeps the run's own state, `cpus` what the worker holds. With `config.gpus`
        the run ends with each `train_all`, so that serving gets the card back, unless `keep_gpu`.
        """
        self.config = config
        self.keep_gpu = keep_gpu
        self.storage = storage
        self.name = name
        self.resources = {"GPU": config.gpus, "CPU": cpus} if config.gpus else {"CPU": cpus}
        self._desk: Any = None
        self._run: threading.Thread | None = None
        self._run_error: BaseException | None = None

    def __enter__(self) -> TrainingService:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def warm_up(self) -> None:
        """Start the worker and its imports in the background; returns at once, and does nothing when they are up."""
        if self._run is not None and self._run.is_alive():
            return
        self._run_error = None
        self._desk = ray.remote(Desk).options(num_cpus=0, name=actor_name("training-desk")).remote()
        self._run = threading.Thread(target=self._fit, args=(self._desk,), name="forge-training", daemon=True)
        self._run.start()

    def train_all(self, jobs: Sequence[TrainJob], progress: Listener = silent) -> list[TrainResult]:
        """The results of `jobs`, in order; finished ones are not trained again, an interrupted one goes on.

        Raises `TrainingError` with the reason of the first job that failed; those after it are not begun.
        """
        if not jobs:
            return []
        self.warm_up()
        ray.get(self._desk.submit.remote(list(jobs)))
        results: list[TrainResult] = []
        while len(results) < len(jobs):
            news = self._poll()
            for step in news.progress:
                progress(step)
            results += news.results
            if news.failure is not None:
                raise TrainingError(news.failure)
        if self.config.gpus and not self.keep_gpu:
            self.close()
        return results

    def worker_pid(self) -> int | None:
        """Process id of the worker that asked for work last, `None` before the first did."""
        pid: int | None = ray.get(self._desk.pid.remote()) if self._desk is not None else None
        return pid

    def close(self, timeout_s: float = 30.0) -> None:
        """End the run and free what its worker holds; a job under way is waited for, `timeout_s` at most.

        A worker that is still training then ends by itself after that job; its checkpoints stay.
        """
        if self._desk is None:
            return
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(self._desk.close.remote(), timeout=timeout_s)
        if self._run is not None:
            self._run.join(timeout_s)
        ray.kill(self._desk)
        self._desk, self._run = None, None

    def _poll(self) -> News:
        if self._run is not None and not self._run.is_alive():
            raise TrainingError(f"the training run ended early: {self._run_error or 'no reason given'}; run the same command again")
        try:
            news: News = ray.get(self._desk.poll.remote(POLL_S))
        except ray.exceptions.RayActorError as error:
            raise TrainingError(f"the training desk died: {error}; run the same command again") from error
        return news

    def _fit(self, desk: Any) -> None:
        for key, value in RUN_ENV.items():
            os.environ.setdefault(key, value)
        loop = {"desk": desk, "backend": self.config.backend, "threads": self.config.threads}
        trainer = DataParallelTrainer(
            _train_loop,
            train_loop_config=loop,
            scaling_config=ScalingConfig(num_workers=1, use_gpu=self.config.gpus > 0, resources_per_worker=self.resources),
            run_config=RunConfig(
                name=f"{self.name}-{uuid.uuid4().hex[:6]}",
                storage_path=str(self.storage),
                failure_config=FailureConfig(max_failures=RESTARTS),
                worker_runtime_env={"env_vars": RUN_ENV},
            ),
        )
        try:
            trainer.fit()
        except Exception as error:  # noqa: BLE001  kept for the driver's thread, which raises it as a TrainingError
            self._run_error = error


def train_all(
    jobs: Sequence[TrainJob], config: TrainingConfig, progress: Listener = silent, *, storage: Path, cpus: float = 0.5
) -> list[TrainResult]:
    """The results of `jobs` in a run of their own, which ends with them; see `TrainingService.train_all`."""
    with TrainingService(config, storage=storage, cpus=cpus) as service:
        return service.train_all(jobs, progress)


def sweep_all(jobs: Sequence[TrainJob], config: TrainingConfig, folder: Path, progress: Listener = silent) -> list[list[Trial]]:
    """The trials of each job, best first, on the worker's resources; studies are kept in `folder`, so that a sweep goes on."""
    return [_alone(_sweep, config, progress, job, config, folder / f"{Path(job.output).name}.db") for job in jobs]


def losses_at(job: TrainJob, rates: Sequence[float], config: TrainingConfig, progress: Listener = silent) -> list[float]:
    """`forge.training.rates.losses_at` on the worker's resources."""
    found: list[float] = _alone(_losses_at, config, progress, job, list(rates), config)
    return found


def _alone(function: Callable[..., Any], config: TrainingConfig, progress: Listener, *arguments: Any) -> Any:
    """What a function comes to in a task of its own; its last argument is where it leaves word meanwhile."""
    news = ray.remote(_News).options(num_cpus=0).remote()
    task = ray.remote(function).options(num_cpus=0.5, num_gpus=config.gpus, runtime_env={"env_vars": RUN_ENV}).remote(*arguments, news)
    try:
        while not ray.wait([task], timeout=POLL_S)[0]:
            for note in ray.get(news.take.remote()):
                progress(note)
        return ray.get(task)
    finally:
        ray.kill(news)


class _News:
    """Where a task leaves word of how far it is."""

    def __init__(self) -> None:
        self._left: list[TrainProgress] = []

    def tell(self, progress: TrainProgress) -> None:
        self._left = [progress]

    def take(self) -> list[TrainProgress]:
        taken, self._left = self._left, []
        return taken


def _sweep(job: TrainJob, config: TrainingConfig, file: Path, news: Any) -> list[Trial]:
    _use_threads(config)

    def tell(done: int, step: int, losses: Sequence[float]) -> None:
        if step % 5 == 0:
            news.tell.remote(TrainProgress(stage=job.stage, step=done, steps=config.sweep.trials, loss=min(losses)))

    found: list[Trial] = importlib.import_module("forge.training.sweep").sweep(job, config.sweep, file, tell)
    return found


def _losses_at(job: TrainJob, rates: Sequence[float], config: TrainingConfig, news: Any) -> list[float]:
    _use_threads(config)

    def tell(step: int, losses: Sequence[float]) -> None:
        if step % 5 == 0:
            news.tell.remote(TrainProgress(stage=job.stage, step=step, loss=min(losses)))

    found: list[float] = importlib.import_module("forge.training.rates").losses_at(job, rates, tell)
    return found


def _use_threads(config: TrainingConfig) -> None:
    torch = importlib.import_module("torch")
    if not config.gpus:
        torch.set_num_threads(config.threads)
        torch.set_flush_denormal(True)


def _train_loop(config: dict[str, Any]) -> None:
    """Runs in the Ray Train worker: import once, then train what the desk hands out until it says enough."""
    desk = config["desk"]
    with contextlib.suppress(ray.exceptions.RayActorError):  # the desk goes when the driver does, and then so does the worker
        worker = ray.get(desk.arrive.remote(os.getpid()))
        listen: Callable[[TrainProgress], None] = desk.tell.remote
        try:
            trainer = make_trainer(config["backend"], threads=config["threads"], listen=listen)
        except ForgeError as error:
            ray.get(desk.fail.remote(str(error)))
            return
        while (job := ray.get(desk.next.remote(worker))) is not None:
            _train_one(desk, trainer, job)


def _train_one(desk: Any, trainer: Trainer, job: TrainJob) -> None:
    try:
        result = trainer.train(job)
    except ForgeError as error:
        ray.get(desk.fail.remote(f"{job.stage}: {error}"))
        return
    except Exception as error:
        ray.get(desk.stumbled.remote(f"{type(error).__name__}: {error}"))
        raise
    ray.get(desk.finish.remote(result))
