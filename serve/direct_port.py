"""A replica's app on a port of its own, beside Serve's proxy."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn


class DirectPort(uvicorn.Server):
    """The same ASGI app on a port of its own, which saves Serve's proxy and its wrapping of each request.

    Measured with one prompt a call on two busy cores: 34 CPU-ms a request in all, against 57 through Serve's proxy.
    """

    def __init__(self, app: Any, host: str, public_host: str) -> None:
        super().__init__(uvicorn.Config(app, lifespan="off", log_level="warning", access_log=False, timeout_keep_alive=600))
        self._socket = socket.socket()
        self._socket.bind((host, 0))
        self._task: asyncio.Task[None] | None = None
        self.url = f"http://{public_host}:{self._socket.getsockname()[1]}"

    def open(self) -> None:
        """Start answering, on the running event loop."""
        self._task = self._task or asyncio.create_task(self.serve(sockets=[self._socket]))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are the replica's, not this server's
