"""One script, run once in a fresh container of any image, its output read through the engine and never twice.

The profile of a box as far as a strange image lets it: no network, no capability, no new privileges, bounded memory without
swap, processes and time, no file beyond the disk limit, its own init. The root file system stays writable, because the
repository lies in it: the engine is asked what was written every two seconds, so that fast writers get that far beyond.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import struct
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import docker
import docker.errors
from docker.types import Ulimit

from forge.errors import SandboxError
from forge.records import Limits
from sandboxes import containers
from sandboxes.images import LABEL
from sandboxes.owners import owner_mark

FOLDER = "/forge"
START = f"{FOLDER}/start.sh"
Breach = Literal["", "time", "memory", "output", "disk"]
_HEAD = struct.Struct(">B3xI")
_LOOK_S = 2.0
_GONE_S = 30
_MOST_KEPT = 2**20
_ENVIRONMENT = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*", "GIT_PAGER": "cat"}


@dataclass(frozen=True)
class Put:
    """A file that is in the container before anything runs there."""

    content: bytes
    executable: bool = False


@dataclass(frozen=True)
class Done:
    """What came of an errand. A breach of a limit is a result; `kept` are the files that were asked for and are there."""

    output: str
    exit_code: int
    seconds: float
    breach: Breach = ""
    kept: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Errand:
    """Bash for an image, the files it finds (absolute path → content), and the paths to look at when it is over."""

    image: str
    script: str
    files: Mapping[str, Put] = field(default_factory=dict)
    keep: Sequence[str] = ()


def run(client: docker.DockerClient, errand: Errand, limits: Limits, run_id: str) -> Done:
    """Carry out an errand; both of its streams are one output. Raises `SandboxError` when the engine or the image failed."""
    start = time.monotonic()
    container = _create(client, errand, limits, run_id)
    try:
        client.api.put_archive(container, "/", _archive({**errand.files, START: Put(errand.script.encode("utf-8", "surrogateescape"))}))
        stream = client.api.attach_socket(container, params={"stdout": 1, "stderr": 1, "stream": 1})
        try:
            with socket.socket(fileno=os.dup(stream.fileno())) as own:
                began = int(time.time())
                client.api.start(container)
                output, breach = _Reader(client, container, own, limits).read()
        finally:
            stream._response.close()
        if breach:
            with contextlib.suppress(docker.errors.APIError):
                client.api.kill(container)
        code = int(client.api.wait(container, timeout=_GONE_S)["StatusCode"])
        if not breach and _ran_out_of_memory(client, container, began):
            breach = "memory"
        kept = {path: content for path in errand.keep if (content := _file(client, container, path)) is not None}
        return Done(output.decode("utf-8", "replace"), code, time.monotonic() - start, breach, kept)
    except (docker.errors.DockerException, OSError) as error:
        raise SandboxError(f"the container of {errand.image} failed: {getattr(error, 'explanation', None) or error}") from error
    finally:
        containers.remove(client, container)


class _Reader:
    """Reads an engine's stream until it ends or a limit is breached."""

    def __init__(self, client: docker.DockerClient, container: str, stream: socket.socket, limits: Limits) -> None:
        self._client, self._container, self._stream, self._limits = client, container, stream, limits
        self._raw = bytearray()
        self._output = bytearray()

    def read(self) -> tuple[bytes, Breach]:
        """The output so far, and the limit that ended it, if one did."""
        end = time.monotonic() + self._limits.command_s
        look = time.monotonic() + _LOOK_S
        while True:
            now = time.monotonic()
            if now >= end:
                return bytes(self._output), "time"
            if now >= look:
                if self._written() > self._limits.disk_bytes:
                    return bytes(self._output), "disk"
                look = time.monotonic() + _LOOK_S
            self._stream.settimeout(max(0.05, min(end, look) - now))
            try:
                part = self._stream.recv(1 << 16)
            except TimeoutError:
                continue
            if not part:
                return bytes(self._output), "disk" if self._written() > self._limits.disk_bytes else ""
            self._take(part)
            if len(self._output) > self._limits.output_bytes:
                return bytes(self._output[: self._limits.output_bytes]), "output"

    def _take(self, part: bytes) -> None:
        """Unwrap the engine's frames: which stream, how many bytes, the bytes."""
        self._raw += part
        while len(self._raw) >= _HEAD.size:
            _, length = _HEAD.unpack_from(self._raw)
            if len(self._raw) < _HEAD.size + length:
                return
            self._output += self._raw[_HEAD.size : _HEAD.size + length]
            del self._raw[: _HEAD.size + length]

    def _written(self) -> int:
        """Bytes that the container has written over its image."""
        found = self._client.api.containers(all=True, size=True, filters={"id": self._container})
        return int(found[0].get("SizeRw") or 0) if found else 0


def _create(client: docker.DockerClient, errand: Errand, limits: Limits, run_id: str) -> str:
    try:
        host = client.api.create_host_config(
            network_mode="none",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            init=True,
            mem_limit=limits.memory_bytes,
            memswap_limit=limits.memory_bytes,
            pids_limit=limits.pids,
            shm_size="64m",
            log_config=containers.NOT_LOGGED,
            ulimits=[Ulimit(name="core", soft=0, hard=0), Ulimit(name="fsize", soft=limits.disk_bytes, hard=limits.disk_bytes)],
        )
        made = client.api.create_container(
            errand.image,
            entrypoint=["/bin/bash", START],
            command=[],
            user="0:0",
            environment=_ENVIRONMENT,
            labels={LABEL: "box", containers.RUN_LABEL: run_id, containers.OWNER_LABEL: owner_mark()},
            host_config=host,
        )
        return str(made["Id"])
    except docker.errors.ImageNotFound as error:
        raise SandboxError(f"the image {errand.image} is not on this engine; pull or build it first") from error
    except (docker.errors.DockerException, OSError) as error:
        raise SandboxError(f"the container engine cannot make a box of {errand.image}: {error}") from error


def _ran_out_of_memory(client: docker.DockerClient, container: str, began: int) -> bool:
    """Whether the kernel killed anything in it for memory: the engine says so of any process, `State.OOMKilled` of the first only."""
    events = client.api.events(since=began - 1, until=int(time.time()) + 1, filters={"container": container, "event": "oom"})
    return any(True for _ in events)


def _file(client: docker.DockerClient, container: str, path: str) -> bytes | None:
    """A regular file of a stopped container, at most `_MOST_KEPT` of its bytes."""
    try:
        chunks, about = client.api.get_archive(container, path)
    except docker.errors.NotFound:
        return None
    if about["size"] > _MOST_KEPT:
        return None
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        member = tar.next()
        stream = tar.extractfile(member) if member is not None and member.isreg() else None
        return stream.read() if stream is not None else None


def _archive(files: Mapping[str, Put]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, file in files.items():
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size, member.mode = len(file.content), 0o755 if file.executable else 0o644
            tar.addfile(member, io.BytesIO(file.content))
    return buffer.getvalue()
