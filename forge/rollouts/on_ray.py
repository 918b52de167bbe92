"""Rollouts spread over Ray actors, each with its own sandboxes; the driver sees trajectories as they finish."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError

from forge.errors import SandboxError
from forge.observe.on_ray import actor_name
from forge.records import Trajectory
from forge.rollouts.rollout import Assignment, Runner

log = logging.getLogger(__name__)

WORKER_DEATHS = 20
"""Deaths of each worker, counted once for every rollout that was under way in it, after which a step is given up."""

RunnerFactory = Callable[[], Runner]
"""Makes the runner inside the actor; picklable, so it carries plain configuration."""


class RolloutWorker:
    """One process that runs many rollouts at once; `max_concurrency` is set by whoever makes it."""

    def __init__(self, make_runner: RunnerFactory) -> None:
        self._runner = make_runner()

    async def roll_out(self, assignment: Assignment) -> Trajectory:
        return await self._runner.roll_out(assignment)

    async def ready(self) -> bool:
        return True

    async def close(self) -> None:
        await self._runner.close()


def _actor(place: int, concurrency: int) -> Any:
    return ray.remote(RolloutWorker).options(
        name=actor_name(f"rollouts-{place}"), num_cpus=0.25, max_restarts=-1, max_concurrency=concurrency + 2
    )


class RolloutPool:
    """A fixed set of workers. A worker that dies is restarted by Ray and its rollouts are done again."""

    def __init__(self, make_runner: RunnerFactory, *, workers: int, concurrency: int) -> None:
        self._concurrency = concurrency
        self._deaths = WORKER_DEATHS * workers * concurrency
        self._workers = [_actor(place, concurrency).remote(make_runner) for place in range(workers)]

    def collect(self, assignments: Sequence[Assignment]) -> Iterator[Trajectory]:
        """Trajectories in the order in which they finish, one for each assignment."""
        # All samples of a task go to one worker: its tree, its verdicts and its checks are there already.
        places = {task: i for i, task in enumerate(dict.fromkeys(a.task.id for a in assignments))}
        queues: list[list[Assignment]] = [[] for _ in self._workers]
        for assignment in reversed(assignments):
            queues[places[assignment.task.id] % len(queues)].append(assignment)
        running: dict[ray.ObjectRef, tuple[int, Assignment]] = {}
        deaths = 0
        while running or any(queues):
            for place, queue in enumerate(queues):
                self._fill(place, queue or max(queues, key=len), running)
            done, _ = ray.wait(list(running), num_returns=1)
            for reference in done:
                place, assignment = running.pop(reference)
                try:
                    yield ray.get(reference)
                except RayActorError as error:
                    if "creation task" in str(error):
                        raise SandboxError(f"a rollout worker cannot start: {str(error).strip().splitlines()[-1]}") from error
                    deaths += 1
                    log.warning("a rollout worker died; its rollouts are done again")
                    if deaths > self._deaths:
                        raise SandboxError(f"rollout workers died {deaths} times, more than restarts explain: {error}") from error
                    queues[place].append(assignment)

    def close(self) -> None:
        """End the workers and their boxes."""
        for worker in self._workers:
            try:
                ray.get(worker.close.remote(), timeout=10)
            except (RayActorError, ray.exceptions.GetTimeoutError):
                log.debug("a rollout worker did not close in time")
            ray.kill(worker)

    def _fill(self, place: int, queue: list[Assignment], running: dict[ray.ObjectRef, tuple[int, Assignment]]) -> None:
        busy = sum(worker == place for worker, _ in running.values())
        while queue and busy < self._concurrency:
            assignment = queue.pop()
            running[self._workers[place].roll_out.remote(assignment)] = (place, assignment)
            busy += 1
