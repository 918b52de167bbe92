"""Landlock by system calls: a process tree that can write in its own folders only, and read the system.

What it lacks against namespaces: other processes, the host's name and shared memory stay visible; before ABI 6 (Linux
6.12) a process can signal others of its user. Source: the kernel's Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
from collections.abc import Iterable

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_FILES = 1 | 2 | 4  # execute, write_file, read_file
_READ = 1 | 4 | 8  # and read_dir
_ALL_BY_ABI = (0, 0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF)
_TRUNCATE, _IOCTL = 0x4000, 0x8000
_NETWORK = 3
_SCOPES = 3  # abstract unix sockets, signals

_libc = ctypes.PyDLL(None, use_errno=True)


def abi() -> int:
    """Landlock's version in this kernel; 0 when it is not there."""
    return max(0, int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1))))


def restrict(readable: Iterable[str], writable: Iterable[str]) -> None:
    """Confine this process for good; needs no-new-privileges. Paths that do not exist are skipped. Raises `OSError`."""
    version = abi()
    everything = _ALL_BY_ABI[min(version, 5)]
    attributes = struct.pack("Q", everything)
    if version >= 4:
        attributes += struct.pack("Q", _NETWORK)
    if version >= 6:
        attributes += struct.pack("Q", _SCOPES)
    rules = _check(_libc.syscall(_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0)), "create ruleset")
    for paths, access in ((readable, _READ), (writable, everything)):
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                _allow(rules, path, access)
    _check(_libc.syscall(_RESTRICT, ctypes.c_int(rules), ctypes.c_uint(0)), "restrict self")
    os.close(rules)


def _allow(rules: int, path: str, access: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            access &= _FILES | _TRUNCATE | _IOCTL
        _check(_libc.syscall(_ADD, ctypes.c_int(rules), ctypes.c_int(1), struct.pack("=Qi", access, fd), ctypes.c_uint(0)), path)
    finally:
        os.close(fd)


def _check(result: int, what: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"landlock {what}: {os.strerror(error)}")
    return int(result)
