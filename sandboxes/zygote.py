"""Host side of a fork server: starts it when needed, sends it trees once, asks it for boxes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import tarfile
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from forge.errors import SandboxError
from forge.records import Environment, Limits
from sandboxes.client import BoxClient, command_slots
from sandboxes.inside.wire import Message

OPEN_S = 60.0
"""Seconds for a new box to answer, the fork server's own start included."""
KEPT_TREE_BYTES = 256 * 2**20
"""Trees kept unpacked in the fork server, as tars; the least recently used unused one goes first."""


@dataclass(frozen=True)
class Launched:
    """A started fork server: its control socket, which it closes by ending, and what to do once ours is closed (may block)."""

    control: socket.socket
    stop: Callable[[], None]


Launch = Callable[[IO[bytes]], Awaitable[Launched]]
"""(file for its stderr) → the started fork server; raises `SandboxError`."""


class Zygote:
    """One fork server and its boxes. When it dies, its boxes are dead and the next `open` starts another."""

    def __init__(self, launch: Launch, name: str) -> None:
        self._launch = launch
        self._name = name
        self._server: _Server | None = None
        self._starting: asyncio.Task[_Server] | None = None
        self._opening = 0
        self.served = False
        """Whether it has ever made a box."""

    @property
    def busy(self) -> bool:
        """Whether it has boxes, or is asked for one."""
        return self._opening > 0 or (self._server is not None and self._server.in_use())

    async def open(self, tree: Path, limits: Limits, environment: Environment | None = None, hash_seed: int = 0) -> BoxClient:
        """A fresh box with a copy of `tree`; raises `SandboxError`. The server must have been started with this hash seed."""
        self._opening += 1
        try:
            server = await self._running()
            try:
                box = await server.open(tree, limits, environment, hash_seed)
            except OSError as error:
                raise SandboxError(f"the {self._name} fork server is gone ({error}){server.last_words()}; open a fresh box") from error
        finally:
            self._opening -= 1
        self.served = True
        return box

    async def close(self) -> None:
        """End the fork server and every box of it."""
        server, self._server = self._server, None
        if server is not None:
            await asyncio.to_thread(server.stop)

    async def _running(self) -> _Server:
        if self._server is not None and self._server.alive():
            return self._server
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> _Server:
        dead, self._server = self._server, None
        if dead is not None:
            await asyncio.to_thread(dead.stop)
        errors = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._server = _Server(await self._launch(errors), errors, self._name)
        except BaseException:
            errors.close()
            raise
        return self._server


def spawn(argv_for: Callable[[int], list[str]], errors: IO[bytes], env: dict[str, str], inherit: Sequence[int] = ()) -> Launched:
    """Start a fork server as a process of this machine; `argv_for` gets the descriptor that it inherits as control socket."""
    control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with other:
        fds = (other.fileno(), *inherit)
        process = subprocess.Popen(
            argv_for(other.fileno()),
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            cwd="/",
            env=env,
            process_group=0,
        )

    def stop() -> None:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    return Launched(control, stop)


def order(limits: Limits, environment: Environment | None, hash_seed: int) -> Message:
    """What a box is told of itself; see `inside.box.Order`."""
    fields = {"interpreter", "roots", "plugins"}
    runtime = None if environment is None else environment.model_dump(include=fields)
    return {"limits": limits.model_dump(), "runtime": runtime, "hash_seed": hash_seed}


class _Server:
    """A started fork server."""

    def __init__(self, launched: Launched, errors: IO[bytes], name: str) -> None:
        self._launched = launched
        self._name = name
        self._errors = errors
        self._control = launched.control
        self._control.setblocking(False)
        self._trees: dict[str, asyncio.Task[None]] = {}
        self._users: dict[str, int] = {}
        self._bytes: dict[str, int] = {}
        self._loop_slots: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None

    def alive(self) -> bool:
        try:
            return bool(self._control.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def in_use(self) -> bool:
        return any(self._users.values())

    def stop(self) -> None:
        """Close the control socket, which ends the server; kill it when it does not."""
        self._control.close()
        self._launched.stop()
        self._errors.close()

    def last_words(self) -> str:
        """What it wrote to stderr last, as a clause for an error message."""
        if self._errors.closed:
            return ""
        self._errors.seek(0)
        text = self._errors.read()[-2000:].decode("utf-8", "replace").strip()
        return f": {text.splitlines()[-1]}" if text else ""

    async def open(self, tree: Path, limits: Limits, environment: Environment | None, hash_seed: int) -> BoxClient:
        """A fresh box with a copy of `tree` as it is now, whose content goes over once."""
        name, key = uuid.uuid4().hex[:12], tree_key(tree)
        self._users[key] = self._users.get(key, 0) + 1
        mine, theirs = socket.socketpair()
        try:
            with theirs:
                await self._have(key, tree)
                await self._send({"op": "open", "box": name, "key": key, **order(limits, environment, hash_seed)}, theirs.fileno())
            reader, writer = await asyncio.open_unix_connection(sock=mine)
        except BaseException:
            mine.close()
            self._users[key] -= 1
            raise
        box = BoxClient(reader, writer, limits, name=name, end=lambda: self._end(name, key), slots=self._slots())
        try:
            await box.expect_ready(OPEN_S)
        except SandboxError as error:
            raise SandboxError(f"{self._name}: {error}{self.last_words()}") from error
        return box

    async def _have(self, key: str, tree: Path) -> None:
        """Make sure that the fork server has the tree; several boxes may wait for the same transfer."""
        task = self._trees.pop(key, None) or asyncio.create_task(self._transfer(key, tree))
        self._trees[key] = task
        try:
            await asyncio.shield(task)
        except BaseException:
            if task.done():
                self._trees.pop(key, None)
            raise

    def _slots(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        if self._loop_slots is None or self._loop_slots[0] is not loop:
            self._loop_slots = (loop, command_slots())
        return self._loop_slots[1]

    async def _end(self, name: str, key: str) -> None:
        """Make sure that the box is gone."""
        self._users[key] -= 1
        with contextlib.suppress(OSError):
            await self._send({"op": "kill", "box": name})

    async def _transfer(self, key: str, tree: Path) -> None:
        fd = await asyncio.to_thread(tar_of, tree)
        try:
            self._bytes[key] = os.fstat(fd).st_size
            await self._send({"op": "tree", "key": key}, fd)
        finally:
            os.close(fd)
        for old in [name for name in self._trees if name in self._bytes and not self._users.get(name)]:
            if sum(self._bytes.values()) <= KEPT_TREE_BYTES:
                break
            del self._trees[old], self._bytes[old]
            await self._send({"op": "drop", "key": old})

    async def _send(self, message: Message, *fds: int) -> None:
        body = json.dumps(message).encode()
        async with asyncio.timeout(OPEN_S):
            while True:
                try:
                    socket.send_fds(self._control, [body], fds)
                    return
                except BlockingIOError:
                    await asyncio.sleep(0.005)


def tree_key(tree: Path) -> str:
    """Name of a tree and its present state: path, and each file's path, size and time. Raises `SandboxError`."""
    digest = hashlib.sha1(os.fsencode(tree.absolute()), usedforsecurity=False)
    try:
        _add_folder(digest.update, os.fspath(tree))
    except OSError as error:
        raise SandboxError(f"the tree {tree} cannot be read: {error}") from error
    return digest.hexdigest()[:20]


def tar_of(tree: Path) -> int:
    """Descriptor, at its start, of an anonymous tar of `tree`: folders, regular files and links only."""
    fd = os.memfd_create("tree", os.MFD_CLOEXEC)
    with open(os.dup(fd), "wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(os.listdir(tree)):
            archive.add(os.path.join(tree, name), arcname=name, filter=_plain_member)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _plain_member(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode |= 0o700 if member.isdir() else 0o600
    return member


def _add_folder(update: Callable[[bytes], None], folder: str) -> None:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            facts = entry.stat(follow_symlinks=False)
            update(f"{entry.name}\0{facts.st_size}\0{facts.st_mtime_ns}\0{facts.st_mode}\0".encode("utf-8", "surrogateescape"))
            if entry.is_dir(follow_symlinks=False):
                _add_folder(update, entry.path)
