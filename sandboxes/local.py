"""The embedded provider: bubblewrap and namespaces, one fork server, a fresh box per rollout in milliseconds.

Guards: no network, no host files but the system and this Python (read-only), no capability, own processes, limits.
Does not guard against a hole in the kernel, nor does it hide which packages are installed here.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pytest

from forge.errors import SandboxError
from forge.records import Environment, Limits
from forge.seams import Sandbox
from sandboxes.environments import visible_folders
from sandboxes.warm import Program, Zygotes
from sandboxes.zygote import Launched, spawn

PROGRAM = Path(__file__).parent / "inside"
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
FORK_SERVER = ("-s", "-P", "-B", "-m", "inside", "namespaced")
ETC = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
_PASSWD = b"root:x:0:0::/:/bin/false\nwork:x:1000:1000::/tmp:/bin/sh\n"
_DROP = "import os,sys;u=int(sys.argv[1]);os.setgroups([]);os.setresgid(u,u,u);os.setresuid(u,u,u);os.execv(sys.argv[2],sys.argv[2:])"
"""Becomes the user of its first argument and executes the rest."""


class LocalProvider:
    """Boxes under bubblewrap. Implements `forge.seams.SandboxProvider`."""

    name = "bubblewrap"
    trusted_only = False

    def __init__(self) -> None:
        self._zygotes = Zygotes(launch, self.name, own_program(), FORK_SERVER)

    async def open(self, tree: Path, *, limits: Limits, run_id: str, environment: Environment | None = None, hash_seed: int = 0) -> Sandbox:
        """See `forge.seams.SandboxProvider.open`. `run_id` is not needed: nothing of a box outlives its owner."""
        return await self._zygotes.open(tree, limits, environment, hash_seed)

    async def sweep(self) -> int:
        """Always 0: the kernel ends a dead owner's boxes, and their files were never on a disk."""
        return 0

    async def close(self) -> None:
        await self._zygotes.close()


def own_program() -> Program:
    """The fork server of forge's own Python."""
    return Program((sys.executable, *FORK_SERVER), tuple(extra_path()))


async def launch(program: Program, errors: IO[bytes]) -> Launched:
    """A fork server under bubblewrap, as an unprivileged user; raises `SandboxError`."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxError("bubblewrap is not installed; install the package 'bubblewrap'")
    passwd = os.memfd_create("passwd")
    os.write(passwd, _PASSWD)
    os.lseek(passwd, 0, os.SEEK_SET)
    try:
        return spawn(lambda control: command(bwrap, program, control, passwd), errors, {"PATH": "/usr/bin:/bin"}, inherit=(passwd,))
    finally:
        os.close(passwd)


def command(bwrap: str, program: Program, control: int, passwd: int) -> list[str]:
    """The whole command line. As root, an outer bubblewrap makes Python reachable for the user that the boxes run as."""
    inner = [bwrap, *_namespaces(), *_environment(program), *_view(passwd), *_agent(program, control)]
    if os.getuid() != 0:
        return inner
    outer = ["--die-with-parent", "--dev-bind", "/dev", "/dev", "--bind", "/proc", "/proc", "--perms", "1777", "--tmpfs", "/tmp", *_binds()]
    outer += [*_ways_to(PROGRAM), "--ro-bind", str(PROGRAM), str(PROGRAM)]
    caps = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [bwrap, *outer, *caps, os.path.realpath(sys.executable), "-I", "-S", "-c", _DROP, str(unprivileged_uids()), *inner]


def _namespaces() -> list[str]:
    kinds = ("user", "pid", "ipc", "net", "uts", "cgroup-try")
    return [f"--unshare-{kind}" for kind in kinds] + (
        [
            "--uid",
            "1000",
            "--gid",
            "1000",
            "--hostname",
            "box",
            "--die-with-parent",
            "--new-session",
            "--as-pid-1",
            "--cap-drop",
            "ALL",
            "--clearenv",
        ]
    )


def _environment(program: Program) -> list[str]:
    variables = {
        "PYTHONPATH": os.pathsep.join(["/forge/program", *program.path]),
        "PYTHONHASHSEED": str(program.hash_seed),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        "TMPDIR": "/forge/trees",
        "PATH": "/usr/bin:/bin",
    }
    return [word for name, value in variables.items() for word in ("--setenv", name, value)]


def _view(passwd: int) -> list[str]:
    """What the fork server sees: a read-only system, this Python, its own program, and one folder to write trees in."""
    words = ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/tmp", *_binds()]
    words += [
        "--ro-bind-data",
        str(passwd),
        "/etc/passwd",
        "--dir",
        "/box/work",
        "--dir",
        "/box/tmp",
        "--dir",
        "/forge/stage",
        "--tmpfs",
        "/forge/trees",
    ]
    return [*words, "--ro-bind", str(PROGRAM), "/forge/program/inside", *_closed("/dev", "/tmp", "/"), "--chdir", "/"]


def _closed(*places: str) -> list[str]:
    return [word for place in places for word in ("--remount-ro", place)]


def _agent(program: Program, control: int) -> list[str]:
    return [*program.words, "--control", str(control), *private_folders()]


def private_folders() -> list[str]:
    """Arguments for the fork server: the folders that each box gets its own of. `/tmp` is none of them where Python lives in it."""
    hides_python = any(path.is_relative_to("/tmp") for path in (*seen_folders(), PROGRAM))
    return ["--private", "/box/tmp" if hides_python else "/tmp", "--private", "/dev/shm"]


def _binds() -> list[str]:
    words: list[str] = []
    for place in SYSTEM:
        if os.path.islink(place):
            words += ["--symlink", os.readlink(place), place]
        elif os.path.isdir(place):
            words += ["--ro-bind", place, place]
    for place in ETC:
        words += [*_ways_to(place), "--ro-bind-try", place, place]
    for path in seen_folders():
        words += [*_ways_to(path), "--ro-bind", str(path), str(path)]
    return words


def _ways_to(path: str | Path) -> list[str]:
    """Folders on the way to `path` that others may pass through: bubblewrap's own would be its user's alone."""
    return [word for folder in reversed(Path(path).parents[:-1]) for word in ("--perms", "0755", "--dir", str(folder))]


def python_folders() -> Sequence[Path]:
    """The folders that this Python and its pytest live in, outside /usr, none inside another."""
    wanted = sorted({Path(sys.prefix), Path(sys.base_prefix), Path(pytest.__file__).parent.parent})
    kept: list[Path] = []
    for path in wanted:
        if not any(path.is_relative_to(above) for above in (Path("/usr"), *kept)):
            kept.append(path)
    return kept


def seen_folders() -> list[Path]:
    """Folders outside the system that a box sees read-only: this Python's, and those of environments; none inside another."""
    kept: list[Path] = []
    for path in sorted({*python_folders(), *visible_folders()}):
        if not any(path.is_relative_to(above) for above in kept):
            kept.append(path)
    return kept


def extra_path() -> list[str]:
    """Where pytest is, when this Python would not find it by itself (it came by PYTHONPATH, say)."""
    site = Path(pytest.__file__).parent.parent
    return [] if any(site.is_relative_to(prefix) for prefix in (sys.prefix, sys.base_prefix)) else [str(site)]


def unprivileged_uids(count: int = 1) -> int:
    """The first of `count` user ids in a row that nobody else has, where this user namespace has such."""
    with open("/proc/self/uid_map") as file:
        spans = [tuple(map(int, line.split())) for line in file]
    highest = max(first + length for first, _, length in spans)
    return 0x60000000 + secrets.randbelow(0x0FFF0000) if highest > 0x70000000 else max(1, highest - 1 - count)
