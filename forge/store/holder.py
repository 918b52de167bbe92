"""Who holds a workspace, found out without touching its lock: a look must never keep a run from starting."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from forge.records import Record

LOCKS = Path("/proc/locks")
HELD = re.compile(r"process (\d+) on (\S+)")


class Holder(Record):
    """The process that a lock file names. `alive` is `None` where that cannot be seen from this machine."""

    process: int
    host: str
    alive: bool | None


def holder_of(root: Path, *, locks: Path = LOCKS, host: str | None = None) -> Holder | None:
    """Who took the workspace's lock last, and whether it is still held; `None` when nobody ever did.

    The kernel lists the locks of this machine (`proc_locks(5)`), by inode and process. Where it does not, a process of that number
    is taken for the holder, which another process may be by now.
    """
    lock = root / "lock"
    try:
        found, inode = HELD.match(lock.read_text(encoding="utf-8", errors="replace")), lock.stat().st_ino
    except OSError:
        return None
    if found is None:
        return None
    process, of = int(found[1]), found[2]
    if of != (host or socket.gethostname()):
        return Holder(process=process, host=of, alive=None)
    return Holder(process=process, host=of, alive=_held(locks, process, inode))


def _held(locks: Path, process: int, inode: int) -> bool:
    try:
        listed = [line.split() for line in locks.read_text(encoding="ascii").splitlines()]
    except OSError:
        return _exists(process)
    return any(part[1:2] == ["FLOCK"] and part[4] == str(process) and part[5].endswith(f":{inode}") for part in listed if len(part) > 5)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
