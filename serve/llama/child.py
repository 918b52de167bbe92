"""One llama-server: a child process with some adapters, spoken to through a socket that only this user reaches."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from forge.errors import EndpointError
from serve.answers import RefusalError
from serve.llama import tied
from serve.llama.turns import Turns

PREFIX = "forge-llama-"
LOOK_S = 0.02
"""Seconds between two looks at a server that starts."""
END_S = 5.0
"""Seconds that a server has to end by itself."""

Argv = Callable[[str], Sequence[str]]
"""The command line, program first, of a server that listens on a socket."""


class Child:
    """A running llama-server. `adapters` are exact ids in the order in which it has them; `under_way` counts requests."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path, adapters: Sequence[str], places: int) -> None:
        self.process, self.adapters = process, tuple(adapters)
        self.turns = Turns(places)
        self.under_way = 0
        self._folder = folder
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(_socket(folder)), limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    def lora(self, name: str) -> list[dict[str, float]]:
        """What a request says of adapters. Never nothing: a request that says nothing keeps what its place had computed with another."""
        number = self.adapters.index(name) if name in self.adapters else None
        return [{"id": number, "scale": 1.0}] if number is not None else [{"id": 0, "scale": 0.0}]

    async def get(self, path: str) -> tuple[int, bytes, str]:
        """Status, body and type of an answer. Raises `RefusalError` when the server has gone."""
        with _going():
            async with self._session.get(f"http://llama{path}") as answer:
                return answer.status, await answer.read(), answer.content_type

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer's JSON. Raises `RefusalError` for what the server refuses, and when it has gone."""
        with _going():
            async with self._session.post(f"http://llama{path}", json=body) as answer:
                raw = await answer.read()
        if answer.status != 200:
            raise _refused(answer.status, raw)
        return json.loads(raw)

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The answer's events as they come. Raises as `post` does."""
        with _going():
            async with self._session.post(f"http://llama{path}", json={**body, "stream": True}) as answer:
                if answer.status != 200:
                    raise _refused(answer.status, await answer.read())
                async for line in answer.content:
                    if line.startswith(b"data: {"):
                        yield json.loads(line[6:])
                    elif line.startswith(b"error: {"):
                        raise _refused(500, b'{"error":' + line[7:] + b"}")

    async def drained(self) -> None:
        """Return when nothing is asked of it any more."""
        while self.under_way and self.alive:  # noqa: ASYNC110  (many end, one waits, and seldom)
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """End the process and remove its folder; safe to call twice."""
        await self._session.close()
        if self.alive:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), END_S)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


async def start(
    argv: Argv, folder: Path, adapters: Sequence[str], *, places: int, environment: Mapping[str, str], within_s: float
) -> Child:
    """A server that answers, working in `folder`. Raises `EndpointError` with its last words when it does not come up."""
    sweep()
    own = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    with (own / "log").open("wb") as log:
        # -I -S: nothing of this Python's environment, so it is a moment's work.
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", tied.__file__, str(os.getpid()), *argv(str(_socket(own))),
            cwd=folder, env=dict(environment), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    child = Child(process, own, adapters, places)
    try:
        await _answers(child, within_s)
    except BaseException as error:
        words = _last_words(own / "log")
        await child.stop()
        if isinstance(error, TimeoutError):
            raise EndpointError(f"llama-server did not answer within {within_s:.0f} s: {words}; raise serve.start_timeout_s") from error
        if isinstance(error, _EndedError):
            raise EndpointError(f"llama-server ended while it started: {words}") from error
        raise
    return child


class _EndedError(Exception):
    """The process is gone."""


async def _answers(child: Child, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while True:
        if not child.alive:
            raise _EndedError
        with contextlib.suppress(RefusalError):
            status, _, _ = await child.get("/health")
            if status == HTTPStatus.OK:
                return
        if time.monotonic() > deadline:
            raise TimeoutError
        await asyncio.sleep(LOOK_S)


def sweep() -> None:
    """Remove what servers left behind whose replica was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _socket(folder: Path) -> Path:
    return folder / "llama.sock"


@contextlib.contextmanager
def _going() -> Any:
    """Turn a connection that breaks into an answer: whoever asked may ask again."""
    try:
        yield
    except aiohttp.ClientError as error:
        raise RefusalError(
            HTTPStatus.SERVICE_UNAVAILABLE, f"llama-server has gone: {error}", "engine_dead", headers={"retry-after": "1"}
        ) from error


def _refused(status: int, raw: bytes) -> RefusalError:
    try:
        message = str(json.loads(raw)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = raw[:300].decode("utf-8", "replace")
    return RefusalError(HTTPStatus(status) if status in HTTPStatus._value2member_map_ else HTTPStatus.BAD_GATEWAY, message)


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    told = [line for line in lines if " E " in line or "error" in line.lower()] or lines
    return "; ".join(told[:2])[:400] or "it said nothing"
