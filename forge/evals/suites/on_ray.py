"""Work that asks and runs what is answered, spread over Ray actors, each with its own boxes; the driver sees results as they finish."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError

from forge.errors import SandboxError
from forge.evals.suites.examiner import Assigned, Examiner, Proven
from forge.evals.suites.problem import Problem, Sample
from forge.observe.on_ray import actor_name

log = logging.getLogger(__name__)

WORKER_DEATHS = 20
"""Deaths of each worker, counted once for every examination that was under way in it, after which a suite is given up."""


class ExamWorker:
    """One process that examines many answers at once."""

    def __init__(self, make_examiner: Callable[[], Examiner]) -> None:
        self._examiner = make_examiner()

    async def prove(self, problem: Problem) -> Proven:
        return await self._examiner.prove(problem)

    async def examine(self, assigned: Assigned) -> Sample:
        return await self._examiner.examine(assigned)

    async def close(self) -> None:
        await self._examiner.close()


class Pool:
    """A fixed set of workers of one class. A worker that dies is restarted by Ray, and what was under way in it is done again."""

    def __init__(self, worker: type, make: Callable[[], Any], *, name: str, workers: int, concurrency: int) -> None:
        """`worker(make)` is made in each process, has async methods of one argument, and `close`; `name` is for the dashboard."""
        self._concurrency = concurrency
        self._deaths = WORKER_DEATHS * workers * concurrency
        self._workers = [
            ray.remote(worker)
            .options(name=actor_name(f"{name}-{place}"), num_cpus=0.25, max_restarts=-1, max_concurrency=concurrency + 2)
            .remote(make)
            for place in range(workers)
        ]

    def each(self, method: str, items: Sequence[Any]) -> Iterator[Any]:
        """What the workers' `method` gives for each item, in the order in which they finish; raises `SandboxError`."""
        waiting, running, deaths = deque(items), dict[ray.ObjectRef, tuple[int, Any]](), 0
        while waiting or running:
            for place, worker in enumerate(self._workers):
                busy = sum(other == place for other, _ in running.values())
                while waiting and busy < self._concurrency:
                    item = waiting.popleft()
                    running[getattr(worker, method).remote(item)] = (place, item)
                    busy += 1
            done, _ = ray.wait(list(running), num_returns=1)
            for reference in done:
                _, item = running.pop(reference)
                try:
                    yield ray.get(reference)
                except RayActorError as error:
                    if "creation task" in str(error):
                        raise SandboxError(f"an examination worker cannot start: {str(error).strip().splitlines()[-1]}") from error
                    deaths += 1
                    log.warning("an examination worker died; what it examined is done again")
                    if deaths > self._deaths:
                        raise SandboxError(f"examination workers died {deaths} times, more than restarts explain: {error}") from error
                    waiting.append(item)

    def close(self) -> None:
        """End the workers and their boxes."""
        for worker in self._workers:
            try:
                ray.get(worker.close.remote(), timeout=10)
            except (RayActorError, GetTimeoutError):
                log.debug("an examination worker did not close in time")
            ray.kill(worker)


class ExamPool:
    """Workers that prove problems and examine answers."""

    def __init__(self, make_examiner: Callable[[], Examiner], *, workers: int, concurrency: int) -> None:
        self._pool = Pool(ExamWorker, make_examiner, name="exams", workers=workers, concurrency=concurrency)

    def prove(self, problems: Sequence[Problem]) -> Iterator[Proven]:
        """A proof of each problem, in the order in which they finish."""
        return self._pool.each("prove", problems)

    def examine(self, assigned: Sequence[Assigned]) -> Iterator[Sample]:
        """The samples, in the order in which they finish."""
        return self._pool.each("examine", assigned)

    def close(self) -> None:
        """End the workers and their boxes."""
        self._pool.close()
