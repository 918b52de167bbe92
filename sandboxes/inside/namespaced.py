"""Boxes as fresh clones of the zygote in namespaces of their own: the strong kind.

stage (tmpfs, sized)  ├── upper, index ──overlay over the pristine tree──► work
                      ├── tmp ──bind──► /tmp
                      └── shm ──bind──► /dev/shm          then an empty file system over trees, stage and program
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from . import files, isolate, seccomp
from .box import Box, Order, Site
from .processes import Namespace
from .testing import Runner
from .wire import Channel


@dataclass(frozen=True)
class Layout:
    """Paths in the zygote's mount namespace. `private` are folders that each box gets its own of, the first for scratch."""

    hidden: str = "/forge"
    trees: str = "/forge/trees"
    stage: str = "/forge/stage"
    work: str = "/box/work"
    private: tuple[str, ...] = ("/tmp", "/dev/shm")


class Maker:
    """Makes namespaced boxes; see `zygote.BoxMaker`."""

    def __init__(self, layout: Layout, path: str) -> None:
        self._layout = layout
        self._path = path
        self._filter = seccomp.build(sockets=True)
        self._counts_pids = isolate.kernel_counts_pids_by_namespace()
        self._tests = Runner(layout.work)

    def prepare(self) -> None:
        """To be called once, before the first box."""
        self._tests.prepare()

    def __call__(self, name: str, tree: str, order: Order, box: socket.socket) -> int:
        uid, gid = os.getuid(), os.getgid()
        pid = isolate.clone(isolate.BOX_NAMESPACES)
        if pid:
            return pid
        try:
            fd = box.detach()
            isolate.close_all_but([fd])
            channel = Channel(fd, fd)
            try:
                site = self._settle(tree, order, uid, gid)
            except OSError as error:
                channel.send({"dead": str(error)})
                os._exit(1)
            channel.send({"ready": True})
            Box(channel, site, order).serve()
        finally:
            os._exit(0)

    def _settle(self, tree: str, order: Order, uid: int, gid: int) -> Site:
        limits = order.limits
        isolate.prctl(isolate.PR_SET_PDEATHSIG, 9)
        isolate.map_worker(uid, gid)
        os.setsid()
        stage = self._mount(tree, limits["disk_bytes"])
        isolate.loopback_up()
        pids = isolate.hard_pids(limits["pids"]) if self._counts_pids else None
        isolate.limit_resources(limits["memory_bytes"], limits["disk_bytes"], pids)
        isolate.drop_capabilities()
        if self._filter:
            seccomp.install(self._filter)
        isolate.prctl(isolate.PR_SET_DUMPABLE, 0)
        used = lambda: files.used_bytes(stage)  # noqa: E731
        return Site(self._layout.work, self._layout.private[0], Namespace(), self._tests, used, path=self._path)

    def _mount(self, tree: str, disk_bytes: int) -> int:
        """Descriptor of the box's own file system."""
        layout, safe = self._layout, isolate.MS_NOSUID | isolate.MS_NODEV
        isolate.mount("tmpfs", layout.stage, "tmpfs", safe, f"size={disk_bytes},nr_inodes={disk_bytes // 2048},mode=0755")
        for name in ("upper", "index", *map(_flat, layout.private)):
            os.mkdir(f"{layout.stage}/{name}")
        try:
            data = f"lowerdir={tree},upperdir={layout.stage}/upper,workdir={layout.stage}/index,userxattr"
            isolate.mount("overlay", layout.work, "overlay", safe, data)
        except OSError:
            files.copy_tree(tree, f"{layout.stage}/upper")
            isolate.mount(f"{layout.stage}/upper", layout.work, None, isolate.MS_BIND)
        for target in layout.private:
            isolate.mount(f"{layout.stage}/{_flat(target)}", target, None, isolate.MS_BIND)
        if os.path.isdir("/dev/pts"):
            isolate.mount("devpts", "/dev/pts", "devpts", isolate.MS_NOSUID | isolate.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
        isolate.mount("proc", "/proc", "proc", safe | isolate.MS_NOEXEC)
        stage = os.open(layout.stage, os.O_RDONLY | os.O_DIRECTORY)
        isolate.mount("tmpfs", layout.hidden, "tmpfs", safe | isolate.MS_RDONLY, "size=4k,mode=0555")
        return stage


def _flat(folder: str) -> str:
    return folder.strip("/").replace("/", "-")
