"""The box of one rollout, which is opened when something is first run in it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from forge.config import SandboxConfig
from forge.records import CommandResult, FileEdit, Symbol, Task
from forge.rollouts.checks import CheckResult, check
from forge.rollouts.tree import TaskTree
from forge.seams import FindEnvironment, Sandbox, SandboxProvider


class LazyBox:
    """Runs attempts, and commands on top of edits. `open_s` is how many seconds it was open, once it is closed."""

    def __init__(
        self,
        provider: SandboxProvider,
        folder: Path,
        config: SandboxConfig,
        run_id: str,
        task: Task,
        environments: FindEnvironment,
    ) -> None:
        self._provider, self._folder, self._config, self._run_id, self._task = provider, folder, config, run_id, task
        self._environments = environments
        self._box: Sandbox | None = None
        self._began = 0.0
        self.open_s = 0.0

    async def check(self, tree: TaskTree, edits: Sequence[FileEdit], symbols: Sequence[Symbol], test_files: int) -> CheckResult:
        """What the tests and examples say about `edits`."""
        return await check(await self._opened(), tree, edits, symbols, test_files)

    async def run(self, edits: Sequence[FileEdit], argv: Sequence[str], timeout_s: float) -> CommandResult:
        """What a command does in the tree with `edits` in it, which stay there."""
        box = await self._opened()
        await box.write(edits)
        return await box.run(argv, timeout_s=timeout_s)

    async def close(self) -> None:
        """End the box, if there is one."""
        if self._box is not None:
            await self._box.close()
            self.open_s = time.monotonic() - self._began

    async def _opened(self) -> Sandbox:
        if self._box is None:
            limits, environment = self._config.limits, self._environments(self._task.environment)
            self._box = await self._provider.open(self._folder, limits=limits, run_id=self._run_id, environment=environment)
            self._began = time.monotonic()
            await self._box.write(self._task.setup)
        return self._box
