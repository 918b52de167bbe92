"""Boxes without namespaces: Landlock, a seccomp filter without sockets, rlimits, an own session.

Does not guard against: seeing other processes and reading world-readable files of the system; filling the disk within
one watch interval; signalling processes of the same user on kernels before Landlock ABI 6. Trusted code only.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Collection
from typing import Any

from . import files, isolate, landlock, seccomp
from .box import Box, Order, Site
from .command import KILL_S
from .processes import Descendants, threads_of
from .testing import Runner
from .wire import Channel

_READABLE = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime", "/etc/passwd")
UIDS = 4096
"""How many users in a row the boxes of one fork server take turns with."""
SLACK = 512
"""Processes that the user may start elsewhere while a box of the same user lives; the supervisor counts the box's own."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/dev/full")


class Maker:
    """Makes confined boxes in folders below `boxes`; see `zygote.BoxMaker`.

    Started by root, each box runs as a user of its own from `first_uid` on; a negative one means: as this very user.
    """

    def __init__(self, boxes: str, path: str, first_uid: int) -> None:
        self._boxes = boxes
        self._path = path
        self._first_uid = first_uid
        self._made = 0
        self._filter = seccomp.build(sockets=False)
        self._landlock = landlock.abi() > 0

    def __call__(self, name: str, tree: str, order: Order, box: socket.socket) -> int:
        self._made += 1
        pid = os.fork()
        if pid:
            return pid
        try:
            fd = box.detach()
            isolate.close_all_but([fd])
            channel = Channel(fd, fd)
            try:
                site = self._settle(os.path.join(self._boxes, name), tree, order.limits)
            except OSError as error:
                channel.send({"dead": str(error)})
                os._exit(1)
            channel.send({"ready": True})
            Box(channel, site, order).serve()
        finally:
            os._exit(0)

    def adopt(self) -> None:
        """To be called once, before the first box: orphans of a killed box become children of this process."""
        isolate.prctl(isolate.PR_SET_CHILD_SUBREAPER, 1)

    def forget(self, name: str, living: Collection[int]) -> None:
        """End the orphans of the box `name` and remove what it wrote; `living` are the pids of the other boxes."""
        Descendants(spared=living).kill(time.monotonic() + KILL_S)
        shutil.rmtree(os.path.join(self._boxes, name), ignore_errors=True)

    def _settle(self, folder: str, tree: str, limits: dict[str, Any]) -> Site:
        isolate.prctl(isolate.PR_SET_PDEATHSIG, 9)
        isolate.prctl(isolate.PR_SET_CHILD_SUBREAPER, 1)
        os.setsid()
        uid = self._first_uid + self._made % UIDS if self._first_uid >= 0 else None
        work, scratch = os.path.join(folder, "work"), os.path.join(folder, "tmp")
        os.makedirs(scratch)
        files.copy_tree(tree, work)
        if uid is not None:
            files.give(folder, uid)
        pristine = files.folder_bytes(folder)
        isolate.limit_resources(limits["memory_bytes"], limits["disk_bytes"])
        used = lambda: files.folder_bytes(folder) - pristine  # noqa: E731
        enter = lambda: self._enter(uid, work, scratch, limits["pids"])  # noqa: E731
        return Site(work, scratch, Descendants(), Runner(work), used, path=self._path, uid=uid, enter=enter)

    def _enter(self, uid: int | None, work: str, scratch: str, pids: int) -> None:
        if uid is None:
            isolate.limit_processes(SLACK + pids + threads_of(os.getuid()))
            isolate.drop_capabilities()
        else:
            isolate.become(uid)
            isolate.limit_processes(isolate.hard_pids(pids))
            isolate.drop_capabilities(keep=None if os.access(sys.executable, os.X_OK) else isolate.CAP_DAC_READ_SEARCH)
        isolate.prctl(isolate.PR_SET_PDEATHSIG, 9)
        if self._landlock:
            landlock.restrict((*_READABLE, sys.prefix, sys.base_prefix, *_DEVICES), (work, scratch, "/dev/null"))
        if self._filter:
            seccomp.install(self._filter)
