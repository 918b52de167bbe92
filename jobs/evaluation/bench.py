"""What a container engine does for SWE-bench: says which images are here, gives the tree in one, grades a patch in one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from forge.observe.progress import Progress
from forge.records import Instance, Verdict
from jobs.tasks.importing import images_missing
from sandboxes.docker import engine_problem
from sandboxes.harness import Attempt, Harness
from sandboxes.image_tree import unpack_image

RUN = "evaluate"


class Bench(Protocol):
    """The engine, or a stand-in for it in tests."""

    def problem(self) -> str:
        """Why there is no engine; nothing when there is one."""

    def missing(self, instances: Sequence[Instance]) -> set[str]:
        """The images of these that are not here."""

    async def unpack(self, instance: Instance, into: Path) -> None:
        """The instance's tree in the new folder `into`; raises `SandboxError`."""

    async def grade(self, instance: Instance, patch: str) -> Verdict:
        """swebench's grade; raises `SandboxError`, and `TaskError` for a log that nobody can read."""

    async def close(self) -> None:
        """End what still runs."""


class EngineBench:
    """Docker or Podman. Implements `Bench`."""

    def __init__(self, progress: Progress, *, workers: int, pull: bool) -> None:
        self._progress, self._workers, self._pull = progress, workers, pull
        self._harness: Harness | None = None

    def problem(self) -> str:
        return engine_problem()

    def missing(self, instances: Sequence[Instance]) -> set[str]:
        return set(images_missing(self._progress, instances, pull=self._pull)) if instances else set()

    async def unpack(self, instance: Instance, into: Path) -> None:
        await asyncio.to_thread(unpack_image, instance.image, instance.workdir, into, run_id=RUN)

    async def grade(self, instance: Instance, patch: str) -> Verdict:
        self._harness = self._harness or Harness(run_id=RUN, workers=self._workers)
        return await self._harness.grade(instance, Attempt(patch=patch))

    async def close(self) -> None:
        if self._harness is not None:
            await self._harness.close()
            self._harness = None
