"""The desk: jobs wait here for the worker, and news for the driver. Plain asyncio; `on_ray` makes an actor of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from forge.records import Record
from forge.seams import TrainJob, TrainResult
from forge.training.progress import TrainProgress

DELIVERIES = 3
"""Workers that may die over one job before it is given up."""


class News(Record):
    """What happened since the last poll; `left` jobs are waiting or under way."""

    progress: tuple[TrainProgress, ...] = ()
    results: tuple[TrainResult, ...] = ()
    failure: str | None = None
    left: int = 0
    deliveries: int = 0
    worker_pid: int | None = None


class Desk:
    """Hands one job at a time to the worker that arrived last; each call that waits lets others in."""

    def __init__(self) -> None:
        self.waiting: deque[TrainJob] = deque()
        self.current: TrainJob | None = None
        self.deliveries = 0
        self.worker = 0
        self.worker_pid: int | None = None
        self.closed = False
        self.progress: list[TrainProgress] = []
        self.results: list[TrainResult] = []
        self.failure: str | None = None
        self.stumble = ""
        self.changed = asyncio.Condition()

    async def submit(self, jobs: list[TrainJob]) -> None:
        """Add jobs; what an earlier failed round left is forgotten."""
        async with self.changed:
            if self.failure is not None:
                self.progress, self.results = [], []
            self.failure = None
            self.waiting.extend(jobs)
            self.changed.notify_all()

    async def arrive(self, pid: int) -> int:
        """A worker's number; only the one that arrived last is given jobs, so a dead one's open call takes none."""
        async with self.changed:
            self.worker += 1
            self.worker_pid = pid
            self.changed.notify_all()
            return self.worker

    async def pid(self) -> int | None:
        """Process id of the worker that arrived last."""
        return self.worker_pid

    async def next(self, worker: int) -> TrainJob | None:
        """The job to train now: the one under way again if its worker died; `None` ends the worker."""
        async with self.changed:
            if self.current is not None and self.deliveries >= DELIVERIES:
                reason = self.stumble or "killed; look at its memory"
                self._fail(f"the training worker died {self.deliveries} times over {self.current.stage}: {reason}")
            await self.changed.wait_for(lambda: self.closed or worker != self.worker or self.current is not None or bool(self.waiting))
            if worker != self.worker or (self.closed and self.current is None):
                return None
            if self.current is None:
                self.current, self.deliveries, self.stumble = self.waiting.popleft(), 0, ""
            self.deliveries += 1
            return self.current

    async def tell(self, progress: TrainProgress) -> None:
        """Progress for the driver's next poll."""
        async with self.changed:
            self.progress.append(progress)
            self.changed.notify_all()

    async def finish(self, result: TrainResult) -> None:
        """The job under way is done."""
        async with self.changed:
            self.results.append(result)
            self.current = None
            self.changed.notify_all()

    async def fail(self, message: str) -> None:
        """The job under way cannot be done, and those behind it are not begun."""
        async with self.changed:
            self._fail(message)

    async def stumbled(self, message: str) -> None:
        """The worker is about to die of an error that nobody foresaw; it is tried again."""
        self.stumble = message

    async def poll(self, timeout_s: float) -> News:
        """The news since the last poll, as soon as there are any."""
        async with self.changed:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.changed.wait_for(lambda: bool(self.progress or self.results or self.failure)), timeout_s)
            news = News(
                progress=tuple(self.progress),
                results=tuple(self.results),
                failure=self.failure,
                left=len(self.waiting) + (self.current is not None),
                deliveries=self.deliveries,
                worker_pid=self.worker_pid,
            )
            self.progress, self.results = [], []
            return news

    async def close(self) -> None:
        """Let the worker end after the job under way."""
        async with self.changed:
            self.closed = True
            self.waiting.clear()
            self.changed.notify_all()

    def _fail(self, message: str) -> None:
        self.failure = message
        self.current = None
        self.waiting.clear()
        self.changed.notify_all()
