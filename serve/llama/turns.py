"""Adapters take turns.

llama.cpp computes a batch with one adapter, and fills it from the lowest place that is generating: as long as new requests for that
adapter come, those for another wait, however long. So requests are let in here in turns: while nobody else waits, all that come for
the adapter that has the turn; as soon as somebody does, nobody more, and when the last one is answered the turn goes to whoever
waits longest, and to all who wait for the same adapter.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """At most `places` requests at once, all for one adapter."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._whose: str | None = None
        self._running = 0
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def turn(self, whose: str) -> AsyncIterator[None]:
        """Held while a request for an adapter is answered."""
        await self._enter(whose)
        try:
            yield
        finally:
            self._running -= 1
            self._let_in()

    async def _enter(self, whose: str) -> None:
        if not self._waiting and self._running < self._places and (self._running == 0 or whose == self._whose):
            self._whose, self._running = whose, self._running + 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((whose, place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # let in, and gone at the same time
                self._running -= 1
            else:
                self._waiting.remove((whose, place))
            self._let_in()
            raise

    def _let_in(self) -> None:
        """Those who may begin now: only the one whose turn it is when others wait for theirs."""
        if not self._waiting:
            return
        if self._running == 0:
            self._whose = self._waiting[0][0]
            begin = [entry for entry in self._waiting if entry[0] == self._whose][: self._places]
        elif all(whose == self._whose for whose, _ in self._waiting):
            begin = list(self._waiting)[: self._places - self._running]
        else:
            return
        for entry in begin:
            self._waiting.remove(entry)
            self._running += 1
            entry[1].set_result(None)
