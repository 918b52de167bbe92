"""Questions to the agent: begun, worked on a few at a time, followed by whoever listens, and kept in files.

A question runs on whether or not its asker listens; one that a process leaves unanswered is begun again by the next.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from forge.config import ServeConfig
from forge.errors import ConfigError, ForgeError
from serve import checkouts
from serve.answers import RefusalError
from serve.solves import Solves

WAITING_EACH = 8
"""Questions that may wait for each that is worked on."""
BEAT_S = 15.0
"""Listeners hear something at least this often, so that nothing between takes the connection for dead."""


class Agent(Protocol):
    """Who answers; `tell` is given what happens, as plain values. The result is plain values too."""

    async def solve(self, folder: Path, question: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]: ...

    async def close(self) -> None: ...


class Call(BaseModel):
    """A question. One of `repository` and `archive` is where its tree comes from."""

    model_config = ConfigDict(extra="forbid")

    issue: str = Field(min_length=1, max_length=50_000)
    repository: str = Field("", max_length=2_000)
    """A git address or a folder, as far as the configuration allows it."""
    archive: str = ""
    """A tar or tar.gz of the repository, in base64."""
    samples: int = Field(1, ge=1, le=16)
    temperature: float = Field(0.8, gt=0.0, le=2.0)
    seed: int = Field(0, ge=0, le=2**31)
    seconds: float = Field(300.0, gt=0)
    test: str = Field("", max_length=2_000)
    environment: Literal["none", "auto"] = "none"
    """Where tests run: forge's own Python, or one with the packages that the tree asks for, where the configuration allows that."""
    stream: bool = True


class Questions:
    """Questions under way in this process, and in files those of all processes so far."""

    def __init__(self, agent: Agent, solves: Solves, config: ServeConfig) -> None:
        self.solves, self.config = solves, config
        self._agent = agent
        self._places = asyncio.Semaphore(config.solves)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._news: dict[str, asyncio.Event] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    def take_up(self) -> int:
        """Number of questions that a process before this one left unanswered; they are begun again."""
        self.solves.sweep()
        left = list(self.solves.unfinished())
        for solve in left:
            self._tell(solve, {"kind": "note", "text": "taken up again: the replica that worked on it has gone"})
            self._start(solve)
        return len(left)

    async def ask(self, call: Call, owner: str, idempotency: str) -> str:
        """The id of the question; raises `RefusalError` for one that cannot be begun."""
        name = hashlib.sha256(f"{owner}:{idempotency}".encode()).hexdigest()[:20] if idempotency else uuid.uuid4().hex[:20]
        async with self._turns.setdefault(name, asyncio.Lock()):
            try:
                return await self._begun(name, call)
            finally:
                self._turns.pop(name, None)

    async def _begun(self, name: str, call: Call) -> str:
        if self.solves.request(name) is not None:
            return name
        if len(self._tasks) >= self.config.solves * (1 + WAITING_EACH):
            raise RefusalError(
                HTTPStatus.SERVICE_UNAVAILABLE, f"{len(self._tasks)} questions are waiting", "overloaded", headers={"retry-after": "30"}
            )
        if call.seconds > self.config.solve_s:
            raise RefusalError(HTTPStatus.BAD_REQUEST, f"a question has at most {self.config.solve_s:.0f} s here", param="seconds")
        if call.environment != "none" and not self.config.environments:
            raise RefusalError(
                HTTPStatus.BAD_REQUEST, "this endpoint builds no environments; it would with serve.environments=true", param="environment"
            )
        tree = self.solves.begin(name, call.model_dump(exclude={"archive", "stream"}))
        try:
            await self._fill(tree, call)
        except ForgeError as error:
            self.solves.drop(name)
            raise RefusalError(HTTPStatus.BAD_REQUEST, str(error), "no_tree") from error
        self.solves.asked(name)
        self._start(name)
        return name

    async def follow(self, name: str, after: int = 0) -> AsyncIterator[dict[str, Any] | None]:
        """Events from `after` on, and the result as the last one; `None` now and then while nothing happens."""
        while True:
            news = self._news.setdefault(name, asyncio.Event())
            news.clear()
            done = self.solves.done(name)
            for event in self.solves.events(name, after):
                after += 1
                yield event | {"n": after}
            if done is not None:
                yield {"kind": "done", "id": name, **done}
                return
            try:
                await asyncio.wait_for(news.wait(), BEAT_S)
            except TimeoutError:
                yield None

    async def result(self, name: str) -> dict[str, Any]:
        """How a question ended, once it has."""
        async for event in self.follow(name):
            if event and event["kind"] == "done":
                return event
        raise AssertionError("a question ends with its result")

    def cancel(self, name: str) -> None:
        """Stop a question; one that has ended stays as it is."""
        if name in self._tasks:
            self._tasks[name].cancel()

    async def close(self) -> None:
        """Leave what is under way to the next process."""
        for task in self._tasks.values():
            task.cancel("closing")
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._agent.close()

    async def _fill(self, tree: Path, call: Call) -> None:
        if bool(call.repository) == bool(call.archive):
            raise ConfigError("give either repository or archive")
        if call.archive:
            try:
                raw = base64.b64decode(call.archive, validate=True)
            except (binascii.Error, ValueError) as error:
                raise ConfigError(f"the archive is no base64: {error}") from error
            await asyncio.to_thread(checkouts.unpack, raw, tree)
            return
        if not checkouts.allowed(call.repository, self.config.repositories):
            raise ConfigError(f"{call.repository} is not among serve.repositories, so the agent does not go there; send an archive")
        if "://" in call.repository:
            await checkouts.clone(call.repository, tree)
        else:
            await asyncio.to_thread(checkouts.copy, Path(call.repository), tree)

    def _start(self, name: str) -> None:
        task = asyncio.create_task(self._work(name))
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._tasks.pop(name, None))

    async def _work(self, name: str) -> None:
        question = {key: value for key, value in (self.solves.request(name) or {}).items() if key != "repository"}
        question["statement"] = question.pop("issue", "")
        try:
            async with self._places:
                result = await self._agent.solve(self.solves.tree(name), question, lambda event: self._tell(name, event))
        except asyncio.CancelledError as cancelled:
            if "closing" in cancelled.args:
                raise
            result = {"status": "cancelled", "patch": "", "reason": "cancelled"}
        except ForgeError as error:
            result = {"status": "failed", "patch": "", "reason": str(error)}
        except Exception as error:  # noqa: BLE001  a question that ends in a surprise must still end for its asker
            result = {"status": "failed", "patch": "", "reason": f"{type(error).__name__}: {error}"[:500]}
        self.solves.end(name, result)
        self._wake(name)

    def _tell(self, name: str, event: dict[str, Any]) -> None:
        self.solves.tell(name, event | {"at": round(time.time(), 3)})
        self._wake(name)

    def _wake(self, name: str) -> None:
        if name in self._news:
            self._news[name].set()
