"""A forked process in its own namespaces, by system calls: what Python 3.11 has no functions for.

Guards: the box sees no other process, no network but its own loopback, no file system but the read-only system and
its own tmpfs, and has no capability. Does not guard against a hole in the kernel.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import signal
import socket
import struct
from collections.abc import Sequence

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
BOX_NAMESPACES = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND = 1, 2, 4, 8, 4096
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 8, 36, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
CAP_DAC_READ_SEARCH = 2
SYS_CLONE = {"x86_64": 56, "aarch64": 220}
SYS_CAPSET = {"x86_64": 126, "aarch64": 91}
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
WORKER = 1000
"""The uid and gid that a box's code sees as its own."""

_libc = ctypes.PyDLL(None, use_errno=True)


def clone(flags: int) -> int:
    """Like `os.fork`, the child in the new namespaces of `flags`; needs a process with one thread.

    Saves a whole fork (2 ms) against unshare-then-fork. glibc's cached thread id stays the parent's in the child, which
    matters to `raise` and `abort` only.
    """
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(_libc.syscall(SYS_CLONE[platform.machine()], ctypes.c_ulong(flags | signal.SIGCHLD), None, None, None, None))
    error = ctypes.get_errno()
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(error, f"clone: {os.strerror(error)}")
    return pid


def map_worker(uid: int, gid: int) -> None:
    """Make the outer `uid` and `gid` appear as `WORKER` in this new user namespace."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{WORKER} {uid} 1"), ("gid_map", f"{WORKER} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """mount(2); raises `OSError`."""
    _check(
        _libc.mount(source.encode(), target.encode(), kind.encode() if kind else None, ctypes.c_ulong(flags), data.encode()),
        f"mount {kind or 'bind'} on {target}",
    )


def loopback_up() -> None:
    """Bring up `lo` of this network namespace, as Docker's `none` network has it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control, contextlib.suppress(OSError):
        import fcntl

        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def drop_capabilities(keep: int | None = None) -> None:
    """Give up every capability but `keep`, and the means to gain one by exec."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    header = struct.pack("II", 0x20080522, 0)
    mask = 0 if keep is None else 1 << keep
    _check(_libc.syscall(SYS_CAPSET[platform.machine()], header, struct.pack("6I", mask, mask, mask, 0, 0, 0)), "capset")
    if keep is not None:
        _check(_libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, ctypes.c_ulong(keep), 0, 0), "ambient capability")


def become(uid: int) -> None:
    """Change to the user and group `uid` for good; permitted capabilities stay until `drop_capabilities`."""
    prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument; raises `OSError`."""
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")


def limit_resources(memory_bytes: int, disk_bytes: int, pids: int | None = None) -> None:
    """Per-process limits of this process and what it starts.

    Address space is twice the memory limit plus 256 MiB, because reserved memory is not used memory: the supervisor
    watches what is used. `pids` counts the processes of the user namespace (Linux 5.14 and newer).
    """
    limits: list[tuple[int, int]] = [
        (resource.RLIMIT_AS, 2 * memory_bytes + 256 * 2**20),
        (resource.RLIMIT_FSIZE, disk_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 512),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ]
    if pids is not None:
        limits.append((resource.RLIMIT_NPROC, pids))
    for kind, value in limits:
        _limit(kind, value)


def hard_pids(pids: int) -> int:
    """The kernel's limit on processes for a limit of `pids`: above it, so that the supervisor sees a breach and names it."""
    return pids + pids // 4 + 4


def limit_processes(count: int) -> None:
    """At most `count` processes and threads of this process's user; root is exempt, so be another first."""
    _limit(resource.RLIMIT_NPROC, count)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def kernel_counts_pids_by_namespace(release: str | None = None) -> bool:
    """Whether RLIMIT_NPROC counts by user namespace (Linux 5.14 and newer)."""
    major, minor = (release or os.uname().release).split(".")[:2]
    return (int(major), int("".join(c for c in minor if c.isdigit()) or 0)) >= (5, 14)


def close_all_but(keep: Sequence[int]) -> None:
    """Close every descriptor from 3 on that is not in `keep`."""
    low = 3
    for fd in sorted(keep):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, 4096)


def _check(result: int, what: str) -> None:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
