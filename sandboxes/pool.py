"""Fresh containers, one per box, a bounded number of them started before they are asked for; none is used twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors

from forge.errors import SandboxError
from forge.records import Environment, Limits
from sandboxes import containers
from sandboxes.client import BoxClient, command_slots
from sandboxes.images import Image
from sandboxes.inside.isolate import hard_pids
from sandboxes.inside.wire import Message
from sandboxes.zygote import order, tar_of

_READY_S = 60.0
_STREAM_HEAD = struct.Struct(">BxxxL")
_STDOUT = 1
_SUPERVISOR_BYTES = 64 * 2**20


@dataclass(frozen=True)
class _Started:
    container: str
    socket: socket.socket
    hang_up: Callable[[], None]
    """Closes the engine client's own view of the connection. Until then it must be kept: forgotten, it shuts the socket down."""


class ContainerPool:
    """Boxes that are containers, for one image."""

    def __init__(self, client: docker.DockerClient, image: Image, threads: ThreadPoolExecutor, *, ahead: int) -> None:
        self._client = client
        self._image = image
        self._threads = threads
        self._ahead = ahead
        self._slots = command_slots()
        self._open: set[BoxClient] = set()
        self._waiting: dict[tuple[str, str, int], deque[asyncio.Future[_Started]]] = {}

    async def open(self, tree: Path, limits: Limits, run_id: str, environment: Environment | None = None, hash_seed: int = 0) -> BoxClient:
        """A fresh container with a copy of `tree`; raises `SandboxError`."""
        queue = self._waiting.setdefault((run_id, limits.content_hash(), hash_seed), deque())
        while len(queue) <= self._ahead:
            queue.append(asyncio.get_running_loop().run_in_executor(self._threads, self._start, limits, run_id, hash_seed))
        started = await queue.popleft()
        reader = asyncio.StreamReader()
        errors = bytearray()
        stream, writer = await asyncio.open_unix_connection(sock=started.socket)
        pump = asyncio.create_task(_pump(stream, reader, errors))

        async def end() -> None:
            self._open.discard(box)
            pump.cancel()
            started.hang_up()
            await asyncio.get_running_loop().run_in_executor(self._threads, containers.remove, self._client, started.container)

        box = BoxClient(reader, writer, limits, name=started.container[:12], end=end, slots=self._slots)
        self._open.add(box)
        try:
            await box.expect_ready(_READY_S)
            await box.send_bytes(*await asyncio.to_thread(_first_message, tree, order(limits, environment, hash_seed)))
            await box.expect_ready(_READY_S)
        except (SandboxError, OSError) as error:
            await box.close()
            said = bytes(errors).decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise SandboxError(f"docker: {error}" + (f": {said}" if said else "")) from error
        return box

    async def close(self) -> None:
        """End every box, and the containers that nobody asked for."""
        for box in list(self._open):
            await box.close()
        for future in [future for queue in self._waiting.values() for future in queue]:
            with contextlib.suppress(SandboxError):
                started = await future
                started.socket.close()
                started.hang_up()
                await asyncio.get_running_loop().run_in_executor(self._threads, containers.remove, self._client, started.container)
        self._waiting.clear()

    def _start(self, limits: Limits, run_id: str, hash_seed: int) -> _Started:
        command = [self._image.python, *["-s", "-P", "-B", "-m", "inside", "single"]]
        client = self._client
        container = containers.create(
            client,
            self._image,
            command,
            run_id=run_id,
            user="0:0",
            namespaces=False,
            mounts={},
            tmpfs={"/box": f"size={limits.disk_bytes},mode=0777,exec", "/tmp": "size=16m,mode=1777,exec", "/forge/trees": "size=1m"},
            limits=_limits(limits),
            hash_seed=hash_seed,
        )
        stream = None
        try:
            stream = client.api.attach_socket(container, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
            containers.start(client, container)
        except (docker.errors.DockerException, OSError, SandboxError) as error:
            if stream is not None:
                stream._response.close()
                stream.close()
            containers.remove(client, container)
            raise SandboxError(f"the container engine cannot start a box: {error}") from error
        own = socket.socket(fileno=os.dup(stream.fileno()))
        own.setblocking(False)
        return _Started(container, own, stream._response.close)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamReader, errors: bytearray) -> None:
    """Unwrap the engine's stream: stdout to `target`, the start of stderr to `errors`."""
    try:
        while True:
            kind, length = _STREAM_HEAD.unpack(await source.readexactly(_STREAM_HEAD.size))
            body = await source.readexactly(length)
            if kind == _STDOUT:
                target.feed_data(body)
            elif len(errors) < 1 << 16:
                errors += body
    except (OSError, EOFError):
        pass
    finally:
        target.feed_eof()


def _first_message(tree: Path, orders: Message) -> tuple[dict[str, Any], bytes]:
    fd = tar_of(tree)
    with open(fd, "rb") as file:
        body = file.read()
    return {"op": "tree", "tree_bytes": len(body), **orders}, body


def _limits(limits: Limits) -> dict[str, Any]:
    memory = limits.memory_bytes + limits.disk_bytes + _SUPERVISOR_BYTES
    return {
        "cap_add": ["SETUID", "SETGID", "KILL"],
        "mem_limit": memory,
        "memswap_limit": memory,
        "pids_limit": hard_pids(limits.pids) + 1,
        "shm_size": "16m",
    }
