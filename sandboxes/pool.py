"""Fresh containers, one per box, a bounded number of them started before they are asked for; none is used twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors
from docker.models.containers import Container

from forge.errors import SandboxError
from forge.records import Limits
from sandboxes import containers
from sandboxes.client import BoxClient
from sandboxes.images import Image
from sandboxes.zygote import tar_of

_READY_S = 60.0
_STREAM_HEAD = struct.Struct(">BxxxL")
_STDOUT = 1


@dataclass(frozen=True)
class _Started:
    container: Container
    socket: socket.socket


class ContainerPool:
    """Boxes that are containers, for one image."""

    def __init__(self, client: docker.DockerClient, image: Image, threads: ThreadPoolExecutor, *, ahead: int) -> None:
        self._client = client
        self._image = image
        self._threads = threads
        self._ahead = ahead
        self._waiting: dict[tuple[str, str], deque[asyncio.Future[_Started]]] = {}
        self._security = containers.security(client, namespaces=False)

    async def open(self, tree: Path, limits: Limits, run_id: str) -> BoxClient:
        """A fresh container with a copy of `tree`; raises `SandboxError`."""
        queue = self._waiting.setdefault((run_id, limits.content_hash()), deque())
        while len(queue) <= self._ahead:
            queue.append(asyncio.get_running_loop().run_in_executor(self._threads, self._start, limits, run_id))
        started = await queue.popleft()
        reader = asyncio.StreamReader()
        _, writer = await asyncio.open_unix_connection(sock=started.socket)
        pump = asyncio.create_task(_pump(_, reader))

        async def end() -> None:
            pump.cancel()
            await asyncio.get_running_loop().run_in_executor(self._threads, containers.remove, started.container)

        box = BoxClient(reader, writer, limits, name=str(started.container.short_id), end=end)
        await box.expect_ready(_READY_S)
        await box.send_bytes(*_first_message(tree, limits))
        await box.expect_ready(_READY_S)
        return box

    async def close(self) -> None:
        """Remove the containers that nobody asked for."""
        for future in [future for queue in self._waiting.values() for future in queue]:
            with contextlib.suppress(SandboxError):
                started = await future
                started.socket.close()
                await asyncio.get_running_loop().run_in_executor(self._threads, containers.remove, started.container)
        self._waiting.clear()

    def _start(self, limits: Limits, run_id: str) -> _Started:
        command = [self._image.python, *["-s", "-P", "-B", "-m", "inside", "single"]]
        profile = _profile(limits) | {"security_opt": self._security}
        container = containers.create(self._client, self._image, command, run_id=run_id, mounts={}, profile=profile)
        try:
            stream = self._client.api.attach_socket(container.id, params={"stdin": 1, "stdout": 1, "stream": 1})
            containers.start(container)
        except (docker.errors.DockerException, OSError) as error:
            containers.remove(container)
            raise SandboxError(f"the container engine cannot start a box: {error}") from error
        own = socket.socket(fileno=os.dup(stream.fileno()))
        own.setblocking(False)
        stream.close()
        return _Started(container, own)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamReader) -> None:
    """Unwrap the engine's stream of stdout and stderr: `target` gets stdout."""
    try:
        while True:
            kind, length = _STREAM_HEAD.unpack(await source.readexactly(_STREAM_HEAD.size))
            body = await source.readexactly(length)
            if kind == _STDOUT:
                target.feed_data(body)
    except (OSError, EOFError):
        pass
    finally:
        target.feed_eof()


def _first_message(tree: Path, limits: Limits) -> tuple[dict[str, Any], bytes]:
    fd = tar_of(tree)
    with open(fd, "rb") as file:
        body = file.read()
    return {"op": "tree", "tree_bytes": len(body), "limits": limits.model_dump()}, body


def _profile(limits: Limits) -> dict[str, Any]:
    memory = limits.memory_bytes + limits.disk_bytes
    return {
        "user": "0:0",
        "cap_add": ["SETUID", "SETGID", "KILL"],
        "mem_limit": memory,
        "memswap_limit": memory,
        "pids_limit": limits.pids + 8,
        "shm_size": "16m",
        "tmpfs": {"/box": f"size={limits.disk_bytes},mode=0777,exec", "/tmp": "size=16m,mode=1777,exec", "/forge/trees": "size=1m"},
    }
