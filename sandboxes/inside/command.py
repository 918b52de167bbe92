"""One command in a box, watched until it ends or breaches a limit; its whole process tree is dead on return."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from .isolate import PR_SET_DUMPABLE, close_all_but, prctl
from .processes import Usage
from .wire import ClosedError

WATCH_S = 0.05
"""Seconds between two looks at memory, processes and disk."""
STARVED = 4
"""A command's wall clock may grow by its wait for a core, to at most this many times its limit more."""
KILL_S = 10.0
"""Seconds that ending a process tree may take before the box counts as dead."""


class ProcessTree(Protocol):
    """What of `processes` a command needs."""

    def usage(self, exact_above: int) -> Usage: ...

    def kill(self, deadline: float) -> bool: ...


@dataclass(frozen=True)
class Bounds:
    """Limits of one command.

    `used_disk` returns the bytes that the box has written, `oom_kills` how often the kernel ended one of its processes.
    """

    seconds: float
    memory_bytes: int
    pids: int
    disk_bytes: int
    output_bytes: int
    used_disk: Callable[[], int]
    oom_kills: Callable[[], int]


@dataclass
class Ended:
    """How a command ended: `status` as a shell gives it (128 + signal), the bytes of each pipe, a breached limit."""

    status: int = 0
    output: dict[int, bytes] = field(default_factory=dict)
    breach: str = ""
    seconds: float = 0.0


class UnkillableError(Exception):
    """A process of the box did not die; the box must go."""


def start(work: str, enter: Callable[[], None], body: Callable[[int], int], *, pipes: int) -> tuple[int, list[int]]:
    """(pid, read ends) of a new session in `work` that runs `body(fd of the third pipe, or -1)` and exits with its result.

    Pipes are its stdout, its stderr, and one more for `body`. `enter` makes the process what boxed code may be.
    """
    ends = [os.pipe() for _ in range(pipes)]
    pid = os.fork()
    if pid:
        for _, write_end in ends:
            os.close(write_end)
        return pid, [read_end for read_end, _ in ends]
    status = 255
    try:
        os.setsid()
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(ends[0][1], 1)
        os.dup2(ends[1][1], 2)
        private = ends[2][1] if pipes > 2 else -1
        close_all_but([private] if pipes > 2 else [])
        _prefer_as_victim()
        enter()
        prctl(PR_SET_DUMPABLE, 1)
        os.chdir(work)
        status = body(private)
    except BaseException as error:  # noqa: BLE001
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        status = 127 if isinstance(error, FileNotFoundError) else 126
    finally:
        os._exit(status)


def watch(pid: int, pipes: list[int], tree: ProcessTree, bounds: Bounds, hangup_fd: int) -> Ended:
    """Wait for `pid` within `bounds`, end everything in the box, drain the pipes.

    Raises `ClosedError` when the host goes away (anything readable on `hangup_fd`), `UnkillableError` when the tree survives.
    """
    began = time.monotonic()
    ended = Ended(output=dict.fromkeys(pipes, b""))
    buffers = {fd: bytearray() for fd in pipes}
    oom_kills = bounds.oom_kills()
    pidfd = os.pidfd_open(pid)
    poller = select.poll()
    for fd in (*pipes, pidfd, hangup_fd):
        poller.register(fd, select.POLLIN | select.POLLHUP)
    try:
        ended.breach = _until_exit(poller, pid, pidfd, hangup_fd, buffers, tree, bounds, began)
        if not ended.breach:
            ended.breach = _breach(tree, bounds)
        ended.status = _status(pid, ended.breach)
        if not tree.kill(time.monotonic() + KILL_S):
            raise UnkillableError
        for fd, buffer in buffers.items():
            _drain(fd, buffer, bounds.output_bytes)
    finally:
        os.close(pidfd)
        for fd in pipes:
            os.close(fd)
    ended.output = {fd: bytes(buffer[: bounds.output_bytes]) for fd, buffer in buffers.items()}
    if not ended.breach and bounds.oom_kills() > oom_kills:
        ended.breach = "memory"
    ended.breach = ended.breach or _breach_in_words(ended, pipes)
    ended.seconds = time.monotonic() - began
    return ended


def _prefer_as_victim() -> None:
    """When memory runs out, the kernel shall take this process before its supervisor."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _until_exit(
    poller: select.poll,
    pid: int,
    pidfd: int,
    hangup_fd: int,
    buffers: dict[int, bytearray],
    tree: ProcessTree,
    bounds: Bounds,
    began: float,
) -> str:
    """Read output until the command exits; the limit that it breached, if any."""
    next_watch, deadline = began + WATCH_S, began + bounds.seconds
    while True:
        now = time.monotonic()
        if now >= deadline:
            deadline = began + bounds.seconds + min(_waited_for_cpu(pid), STARVED * bounds.seconds)
            if now >= deadline:
                return "time"
        if now >= next_watch:
            if breach := _breach(tree, bounds):
                return breach
            next_watch = time.monotonic() + WATCH_S
        for fd, _ in poller.poll(max(0.0, min(next_watch, deadline) - now) * 1000 + 1):
            if fd == hangup_fd:
                raise ClosedError
            if fd == pidfd:
                return ""
            part = os.read(fd, 1 << 16)
            if not part:
                poller.unregister(fd)
            buffers[fd] += part
        if sum(map(len, buffers.values())) > bounds.output_bytes:
            return "output"


def _waited_for_cpu(pid: int) -> float:
    """Seconds that `pid` was ready to run and had no core: on a starved machine its time limit is not its fault."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[1]) / 1e9
    return 0.0


def _breach(tree: ProcessTree, bounds: Bounds) -> str:
    usage = tree.usage(bounds.memory_bytes)
    if usage.memory_bytes > bounds.memory_bytes:
        return "memory"
    if usage.pids >= bounds.pids:
        return "pids"
    if bounds.used_disk() >= bounds.disk_bytes:
        return "disk"
    return ""


def _breach_in_words(ended: Ended, pipes: list[int]) -> str:
    """Memory refused by the address-space limit shows in Python's last words only."""
    last = ended.output[pipes[1]].rstrip().rpartition(b"\n")[2]
    return "memory" if ended.status and last.startswith(b"MemoryError") else ""


def _status(pid: int, breach: str) -> int:
    if breach:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


def _drain(fd: int, buffer: bytearray, limit: int) -> None:
    os.set_blocking(fd, False)
    try:
        while len(buffer) < limit and (part := os.read(fd, 1 << 16)):
            buffer += part
    except BlockingIOError:
        pass
