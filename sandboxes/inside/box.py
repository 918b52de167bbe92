"""The supervisor of one box: answers requests one at a time until the host closes the channel.

It never runs boxed code in its own process, and whatever a request started is dead before the answer goes out.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import files
from .command import Bounds, Ended, ProcessTree, start, watch
from .judging import judge
from .runtime import Runtime
from .testing import Runner
from .wire import Channel, ClosedError, Message

EVENT_BYTES = 8 * 2**20
"""What a test run may write in all: pytest's own output and the events."""
KILLED = 128 + signal.SIGKILL


@dataclass(frozen=True)
class Order:
    """What the host wants of a box: its limits, whose Python runs in it (`None`: this very one), and its PYTHONHASHSEED."""

    limits: dict[str, Any]
    runtime: Runtime | None = None
    hash_seed: int = 0

    @classmethod
    def of(cls, message: Message) -> Order:
        return cls(message["limits"], Runtime.of(message.get("runtime")), message.get("hash_seed", 0))


@dataclass(frozen=True)
class Site:
    """Where a box works: its two folders, its processes, its pytest, and the user that owns its files (`None`: this one)."""

    work: str
    scratch: str
    tree: ProcessTree
    tests: Runner
    used_disk: Callable[[], int]
    path: str
    uid: int | None = None
    oom_kills: Callable[[], int] = lambda: 0
    enter: Callable[[], None] = lambda: None
    """Called in each started process, before boxed code; it changes to `uid` where there is one."""


class Box:
    """Serves one channel."""

    def __init__(self, channel: Channel, site: Site, order: Order) -> None:
        limits = order.limits
        self._channel = channel
        self._site = site
        self._runtime = order.runtime
        self._hash_seed = str(order.hash_seed)
        self._bounds = Bounds(
            seconds=limits["command_s"],
            memory_bytes=limits["memory_bytes"],
            pids=limits["pids"],
            disk_bytes=limits["disk_bytes"],
            output_bytes=limits["output_bytes"],
            used_disk=site.used_disk,
            oom_kills=site.oom_kills,
        )

    def serve(self) -> None:
        """Answer until the host is gone; raises `UnkillableError` when a process tree survives."""
        with contextlib.suppress(ClosedError):
            while True:
                request = self._channel.receive()
                self._channel.send(self._answer(request))

    def _answer(self, request: Message) -> Message:
        try:
            match request["op"]:
                case "run":
                    return self._run(request["argv"], self._within(request))
                case "tests":
                    return self._tests(request["ids"], self._within(request))
                case "write":
                    with self._as_worker():
                        files.write(self._site.work, request["files"])
                    return {}
                case "read":
                    with self._as_worker():
                        return {"text": files.read(self._site.work, request["path"])}
                case other:
                    return {"refused": f"the box has no operation {other!r}"}
        except files.RefusedError as error:
            return {"refused": str(error)}

    def _run(self, argv: Sequence[str], bounds: Bounds) -> Message:
        environment = self._environment()

        def body(_: int) -> int:
            os.environ["PATH"] = environment["PATH"]
            os.execvpe(argv[0], list(argv), environment)  # noqa: S606

        pid, pipes = start(self._site.work, self._site.enter, body, pipes=2)
        ended = watch(pid, pipes, self._site.tree, bounds, self._channel.read_fd)
        return _facts(ended) | {"stdout": _text(ended, pipes[0]), "stderr": _text(ended, pipes[1])}

    def _tests(self, ids: Sequence[str], bounds: Bounds) -> Message:
        token = secrets.token_hex(8)

        def body(fd: int) -> int:
            environment = self._environment()
            runtime = self._runtime
            # Plugins want an interpreter of their own: the server has not loaded them.
            if runtime is not None and not (runtime.is_warm and not runtime.plugins):
                return runtime.execute(self._site.work, ids, _hide(fd), token, environment)
            os.environ.clear()
            os.environ.update({name: value for name, value in environment.items() if name != "PYTHONPATH"})
            entries = None if runtime is None else runtime.adopt(self._site.work)
            return self._site.tests.run(ids, _hide(fd), token, entries)

        pid, pipes = start(self._site.work, self._site.enter, body, pipes=3)
        ended = watch(pid, pipes, self._site.tree, replace(bounds, output_bytes=EVENT_BYTES), self._channel.read_fd)
        verdict = judge(ids, ended.output[pipes[2]], token, ended.status)
        if ended.breach:
            verdict |= {"complete": False, "reason": f"the run went over its {ended.breach} limit"}
        elif not verdict["complete"] and (said := _last_line(ended, pipes)):
            verdict["reason"] += f": {said}"
        return verdict | {"seconds": ended.seconds, "killed": ended.status == KILLED and not ended.breach}

    def _within(self, request: Message) -> Bounds:
        seconds = request.get("timeout_s")
        return self._bounds if seconds is None else replace(self._bounds, seconds=min(seconds, self._bounds.seconds))

    def _environment(self) -> dict[str, str]:
        plain = {
            "PATH": self._site.path,
            "HOME": self._site.scratch,
            "TMPDIR": self._site.scratch,
            "LANG": "C.UTF-8",
            "USER": "work",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": self._hash_seed,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        return plain if self._runtime is None else self._runtime.environment(self._site.work, plain)

    @contextlib.contextmanager
    def _as_worker(self) -> Iterator[None]:
        """Touch files as the user that owns them: a root without capabilities is nobody special to them."""
        if self._site.uid is None:
            yield
            return
        os.setegid(self._site.uid)
        os.seteuid(self._site.uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)


def _hide(fd: int) -> int:
    """The same pipe under a number that code cannot guess by trying 3."""
    hidden = 64 + secrets.randbelow(384)
    os.dup2(fd, hidden, inheritable=False)
    os.close(fd)
    return hidden


def _facts(ended: Ended) -> Message:
    return {"exit_code": ended.status, "breach": ended.breach, "seconds": ended.seconds}


def _text(ended: Ended, pipe: int) -> str:
    return ended.output[pipe].decode("utf-8", "replace")


def _last_line(ended: Ended, pipes: Sequence[int]) -> str:
    said = (ended.output[pipes[1]].strip() or ended.output[pipes[0]].strip()).decode("utf-8", "replace")
    return said.rpartition("\n")[2][:200]
