"""The llama-server that answers now, and the next one beside it when an adapter is added.

llama-server takes adapters at its start only. So one with the new set is started beside, requests that begin from then on go to it,
and the old one ends when its last answer has been given: nothing fails, nothing waits but who asked for the new adapter. Both hold
weights and a KV cache of their own meanwhile; on processors the file of the weights is one memory for both.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from forge.errors import EndpointError, ForgeError
from serve.answers import RefusalError
from serve.llama.child import Child
from serve.seam import Tokens

logger = logging.getLogger(__name__)

Begin = Callable[[Mapping[str, Path]], Coroutine[Any, Any, Child]]
"""Starts a server with these adapter files by exact id."""


class Pool:
    """Implements `serve.seam.Adapters` and `serve.seam.Engine`. `convert` makes an adapter folder's GGUF file; `most` is how many
    adapters a server has beside those that are wanted, the ones used last."""

    def __init__(self, begin: Begin, convert: Callable[[Path], Path], base: str, most: int) -> None:
        self._begin, self._convert, self._base, self._most = begin, convert, base, most
        self._child: Child | None = None
        self._folders: dict[str, str] = {}
        """Folders by exact id of what the server that answers has, the ones used last at the end."""
        self._files: dict[str, Path] = {}
        self._kept: frozenset[str] = frozenset()
        """Wanted ones, which are never put aside for others."""
        self._asked: dict[str, str] = {}
        """Versions that somebody waits for."""
        self._turn = asyncio.Lock()
        self._retiring: dict[asyncio.Task[None], Child] = {}
        self.problems: dict[str, str] = {}
        self.tokens: Tokens | None = None
        """Told of every answer."""

    @property
    def errored(self) -> bool:
        return self._child is not None and not self._child.alive

    async def follow(self, wanted: Mapping[str, str], known: Collection[str] = ()) -> None:
        """As the seam says. Raises `EndpointError` when no server answers yet and none can be started."""
        async with self._turn:
            self._kept = frozenset(wanted)
            self._folders = {name: path for name, path in self._folders.items() if name in wanted or name in known}
            self.problems = await self._add(wanted)

    def serves(self, name: str, path: str) -> bool:
        return self._folders.get(name) == path

    async def load(self, name: str, path: str) -> str:
        """As the seam says. Versions that are asked for at the same time come with one new server."""
        self._asked[name] = path
        async with self._turn:
            asked, self._asked = self._asked, {}
            problems = await self._add({name: path, **asked})
        return problems.get(name, "")

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[Child]:
        """The server that answers, for what no model is needed for; raises `RefusalError` when there is none."""
        if (child := self._child) is None:
            raise _not_running()
        child.under_way += 1
        try:
            yield child
        finally:
            child.under_way -= 1

    @asynccontextmanager
    async def answering(self, name: str) -> AsyncIterator[Child]:
        """The server that answers for a model, held until it has; raises `RefusalError` when that was put aside meanwhile."""
        async with self.asking() as child:
            if name != self._base and name not in child.adapters:
                told = f"{name} is not loaded; ask again"
                raise RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, told, "model_not_loaded", headers={"retry-after": "1"})
            if name in self._folders:
                self._folders[name] = self._folders.pop(name)
            async with child.turns.turn(name):
                yield child

    async def stop(self) -> None:
        """End the server, and those that are being drained; the next `follow` starts one anew."""
        async with self._turn:
            retiring, children = list(self._retiring), list(self._retiring.values())
            for task in retiring:
                task.cancel()
            await asyncio.gather(*retiring, return_exceptions=True)
            children += [self._child] if self._child is not None else []
            self._child, self._folders = None, {}
            await asyncio.gather(*(child.stop() for child in children))

    async def _add(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """Why some of `wanted` are not served, by exact id; the others are from now on."""
        problems, fresh = {}, {}
        for name, path in wanted.items():
            served = self._folders.get(name)
            if served is None:
                fresh[name] = path
            elif served != path:
                problems[name] = f"{name} is served from {served} and names are immutable; give {path} a new version"
        for name, path in list(fresh.items()):
            try:
                self._files[name] = await asyncio.to_thread(self._convert, Path(path))
            except ForgeError as error:
                problems[name] = str(error)
                del fresh[name]
        if fresh or self._child is None:
            kept = self._kept_beside(fresh)
            try:
                await self._switch(kept | fresh)
            except EndpointError as error:
                if self._child is None:
                    raise
                problems |= dict.fromkeys(fresh, str(error))
        for name, why in problems.items():
            logger.warning("adapter %s was not loaded: %s", name, why)
        return problems

    def _kept_beside(self, fresh: Collection[str]) -> dict[str, str]:
        """What the next server has beside the new ones: what is wanted, and of the rest those used last, as far as there is room."""
        others = [name for name in self._folders if name not in self._kept]
        room = max(0, self._most - len(self._kept | set(fresh)))
        put_aside = set(others[: max(0, len(others) - room)])
        return {name: path for name, path in self._folders.items() if name not in put_aside}

    async def _switch(self, folders: dict[str, str]) -> None:
        child = await self._begin({name: self._files[name] for name in folders})
        old, self._child, self._folders = self._child, child, folders
        if old is not None:
            task = asyncio.create_task(_retire(old))
            self._retiring[task] = old
            task.add_done_callback(lambda done: self._retiring.pop(done, None))


async def _retire(child: Child) -> None:
    try:
        await child.drained()
    finally:
        await child.stop()


def _not_running() -> RefusalError:
    return RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "the engine is not running; ask again", "asleep", headers={"retry-after": "5"})
