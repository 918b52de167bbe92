"""What stands behind the front: an engine that answers, and the adapters that it answers with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol


class Adapters(Protocol):
    """The adapters that an engine serves, kept equal to what is wanted."""

    @property
    def problems(self) -> Mapping[str, str]:
        """Why a wanted adapter is not served, by exact id."""

    async def follow(self, wanted: Mapping[str, str], known: Collection[str] = ()) -> None:
        """Serve these folders under these exact ids, and forget what is neither wanted nor known; requests under way keep their adapter."""

    def serves(self, name: str, path: str) -> bool:
        """Whether the adapter answers already."""

    async def load(self, name: str, path: str) -> str:
        """Make one more adapter answer; the reason when it cannot."""


class Engine(Protocol):
    @property
    def errored(self) -> bool:
        """Whether it is dead and will never answer again."""


class Tokens(Protocol):
    """Told of an answer when it is over: tokens of its prompt, how many of these a cache held, and tokens that were written."""

    def __call__(self, model: str, *, prompt: int, cached: int, written: int) -> None: ...


class Server(Protocol):
    """A running engine, its ASGI app with vLLM's routes and `/forge/sample`, and its adapters."""

    @property
    def engine(self) -> Engine: ...

    @property
    def app(self) -> Any:
        """A FastAPI app."""

    @property
    def adapters(self) -> Adapters: ...

    def tell(self, tokens: Tokens) -> None:
        """From now on every answer is told, one that breaks off as far as it came; called before the first request."""

    async def sleep(self, asleep: bool) -> None:
        """Give the card's memory to whoever trains, or take it back."""


class Start(Protocol):
    """Starts an engine in the process that it is called in; travels there as a plain value."""

    async def __call__(self) -> Server: ...
