"""Who owns what a run leaves behind: a process of this boot, named so that a later run can tell whether it still lives."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from pathlib import Path

_OWNER = "owner"


def owner_mark(pid: int | None = None) -> str:
    """`host:boot:pid:start` of a process (this one by default)."""
    pid = os.getpid() if pid is None else pid
    return f"{socket.gethostname()}:{_boot()}:{pid}:{_start_time(pid) or 0}"


def owner_is_dead(mark: str) -> bool:
    """True only when the process of `mark` certainly ended: same host, and another boot or no such process now."""
    parts = mark.split(":")
    if len(parts) != 4 or parts[0] != socket.gethostname():
        return False
    _, boot, pid, start = parts
    return boot != _boot() or _start_time(int(pid)) != int(start)


def owned_folder(prefix: str, parent: Path) -> Path:
    """A new folder below `parent` that `sweep_folders` removes once this process is gone."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    (folder / _OWNER).write_text(owner_mark())
    return folder


def sweep_folders(prefix: str, parent: Path) -> int:
    """Remove the folders of owners that died; returns how many."""
    removed = 0
    for folder in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            if owner_is_dead((folder / _OWNER).read_text()):
                shutil.rmtree(folder)
                removed += 1
    return removed


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]


def _start_time(pid: int) -> int | None:
    """Clock ticks after boot at which `pid` started; `None` when there is no such process, zombies included."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])
