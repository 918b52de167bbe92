"""Host side of one box: requests over its channel, each with a deadline. Implements the seam `Sandbox`."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence

from forge.errors import SandboxError
from forge.records import CommandResult, FileEdit, Limits, TestRun
from sandboxes.inside.command import STARVED
from sandboxes.inside.wire import HEAD, Message, pack
from sandboxes.paths import plain_path

GRACE_S = 30.0
"""Seconds beyond a command's own limit after which a silent box counts as dead: a busy machine is slow, not broken."""
CLOSE_S = 5.0


def command_slots() -> asyncio.Semaphore:
    """As many commands at once as keep this machine's cores busy; for one event loop."""
    return asyncio.Semaphore(max(4, 2 * (os.cpu_count() or 1)))


class BoxClient:
    """One box. `end` is called once, when the box is closed or found dead, and must make sure that it is gone.

    Commands take one of `slots` each, so that a thousand rollouts queue instead of running each other into time-outs.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limits: Limits,
        *,
        name: str,
        end: Callable[[], Awaitable[None]],
        slots: asyncio.Semaphore,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._name = name
        self._end = end
        self._turn = asyncio.Lock()
        self._slots = slots
        self._over = ""

    async def run(self, argv: Sequence[str], *, timeout_s: float | None = None) -> CommandResult:
        """See `forge.seams.Sandbox.run`. `timeout_s` can only tighten the box's own limit."""
        if not argv:
            raise SandboxError("an empty command cannot be run; give at least the name of a program")
        async with self._slots:
            answer = await self._ask({"op": "run", "argv": list(argv), "timeout_s": timeout_s}, self._seconds(timeout_s))
        return CommandResult.model_validate(answer)

    async def write(self, files: Sequence[FileEdit]) -> None:
        """See `forge.seams.Sandbox.write`."""
        for edit in files:
            if not plain_path(edit.path):
                raise SandboxError(f"the path {edit.path!r} leaves the work tree; give a path relative to the repository")
        await self._ask({"op": "write", "files": [(edit.path, edit.content) for edit in files]}, GRACE_S)

    async def read(self, path: str) -> str | None:
        """See `forge.seams.Sandbox.read`."""
        text = (await self._ask({"op": "read", "path": path}, GRACE_S))["text"]
        assert text is None or isinstance(text, str)
        return text

    async def run_tests(self, ids: Sequence[str], *, timeout_s: float | None = None) -> TestRun:
        """See `forge.seams.Sandbox.run_tests`."""
        async with self._slots:
            answer = await self._ask({"op": "tests", "ids": list(ids), "timeout_s": timeout_s}, self._seconds(timeout_s))
        return TestRun.model_validate(answer)

    async def close(self) -> None:
        """See `forge.seams.Sandbox.close`."""
        if not self._over:
            await self._finish("it was closed")

    async def expect_ready(self, timeout_s: float) -> None:
        """Wait for the box's first word; raises `SandboxError` with its reason when it could not be made."""
        answer = await self._exchange(None, timeout_s)
        if "dead" in answer:
            await self._finish(f"it could not be made: {answer['dead']}")
            raise self._gone()

    async def send_bytes(self, message: Message, body: bytes) -> None:
        """A message and raw bytes after it, for a box that takes its tree over the channel."""
        self._writer.write(pack(message) + body)
        await self._writer.drain()

    def _seconds(self, timeout_s: float | None) -> float:
        seconds = min(self._limits.command_s, self._limits.command_s if timeout_s is None else timeout_s)
        return seconds * (1 + STARVED) + GRACE_S

    async def _ask(self, request: Message, timeout_s: float) -> Message:
        async with self._turn:
            answer = await self._exchange(request, timeout_s)
        if "refused" in answer:
            raise SandboxError(str(answer["refused"]))
        return answer

    async def _exchange(self, request: Message | None, timeout_s: float) -> Message:
        if self._over:
            raise self._gone()
        try:
            async with asyncio.timeout(timeout_s):
                if request is not None:
                    self._writer.write(pack(request))
                    await self._writer.drain()
                return await self._receive()
        except TimeoutError as error:
            await self._finish(f"it did not answer within {timeout_s:.0f} s")
            raise self._gone() from error
        except (OSError, EOFError, ValueError) as error:
            await self._finish("it died")
            raise self._gone() from error
        except asyncio.CancelledError:
            await self._finish("a request was cancelled half-way")
            raise

    async def _receive(self) -> Message:
        (length,) = HEAD.unpack(await self._reader.readexactly(HEAD.size))
        if length > 6 * (self._limits.disk_bytes + 2 * self._limits.output_bytes) + (16 << 20):
            raise ValueError(f"a frame of {length} bytes")
        message = json.loads(await self._reader.readexactly(length))
        if not isinstance(message, dict):
            raise ValueError("a frame that is no object")
        return message

    async def _finish(self, why: str) -> None:
        if self._over:
            return
        self._over = why
        self._writer.close()
        await self._end()

    def _gone(self) -> SandboxError:
        return SandboxError(f"box {self._name} is gone: {self._over}; open a fresh one")
