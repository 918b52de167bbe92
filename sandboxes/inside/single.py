"""One box that is a whole container: this program is its PID 1 and root without capabilities but SETUID, SETGID, KILL.

The tree comes as a tar over stdin; boxed code runs as `isolate.WORKER`, which cannot touch this process.
"""

from __future__ import annotations

import contextlib
import io
import os

from . import files, isolate, seccomp
from .box import Box, Order, Site
from .processes import Namespace
from .testing import Runner
from .wire import Channel, ClosedError

WORK, SCRATCH = "/box/work", "/box/tmp"


def serve(path: str) -> None:
    """Take a tree and limits, then answer until stdin ends."""
    read_fd, write_fd = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    channel = Channel(read_fd, write_fd)
    try:
        channel.send({"ready": True})
        first = channel.receive()
        tar = channel.receive_bytes(first["tree_bytes"])
    except ClosedError:
        return
    for folder in (WORK, SCRATCH):
        with contextlib.suppress(OSError):
            os.rmdir(folder)  # Podman copies the image's empty folders into a tmpfs, as root's
    os.setegid(isolate.WORKER)
    os.seteuid(isolate.WORKER)
    for folder in (WORK, SCRATCH):
        os.makedirs(folder, exist_ok=True)
    files.unpack(io.BytesIO(tar), WORK)
    os.seteuid(0)
    os.setegid(0)
    order = Order.of(first)
    limits = order.limits
    isolate.limit_resources(limits["memory_bytes"], limits["disk_bytes"])
    isolate.prctl(isolate.PR_SET_DUMPABLE, 0)
    box = os.open("/box", os.O_RDONLY)
    tree, tests = Namespace(), Runner(WORK)
    used = lambda: files.used_bytes(box)  # noqa: E731
    site = Site(WORK, SCRATCH, tree, tests, used, path=path, uid=isolate.WORKER, oom_kills=oom_kills, enter=_enter)
    channel.send({"ready": True})
    Box(channel, site, order).serve()


def oom_kills() -> int:
    """How often the kernel ended a process of this container for memory (cgroup v2, v1); the engine's own flag stays false."""
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        with contextlib.suppress(OSError), open(path) as file:
            counts = dict(line.split() for line in file)
            return int(counts.get("oom_kill", 0))
    return 0


def _enter() -> None:
    isolate.become(isolate.WORKER)
    isolate.drop_capabilities()
    if program := seccomp.build(sockets=True):
        seccomp.install(program)
