"""Which processes a box has, what they use, and how all of them are ended.

PID 1 of a namespace (bubblewrap, Docker) sees and kills everything by `kill(-1)`. Without namespaces the supervisor
is a subreaper and walks its descendants in /proc: a process that is born while it walks is found in the next walk.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """Processes beside the supervisor, and the bytes of memory that they have touched."""

    pids: int
    memory_bytes: int


class Namespace:
    """Every process of this PID namespace but this one, which is its PID 1."""

    def usage(self, exact_above: int) -> Usage:
        """What they use; up to `exact_above` bytes, pages that forks share may count once for each."""
        return _usage([pid for pid in _all_pids() if pid != 1], exact_above)

    def kill(self, deadline: float) -> bool:
        """End them all and reap them; false when some did not end by `deadline` (monotonic seconds)."""
        while True:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(-1, signal.SIGKILL)
            if _reap_all():
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.0005)


class Descendants:
    """Every descendant of this process, which is a subreaper, but `spared` children and what they started."""

    def __init__(self, spared: Collection[int] = ()) -> None:
        self._spared = spared

    def usage(self, exact_above: int) -> Usage:
        """See `Namespace.usage`."""
        return _usage(self._pids(), exact_above)

    def kill(self, deadline: float) -> bool:
        """Stop all of them first: what is stopped cannot fork, so each walk finds fewer new ones. Then end them."""
        while found := self._pids():
            stopped: set[int] = set()
            while new := set(found) - stopped:
                _signal(new, signal.SIGSTOP)
                stopped |= new
                found = self._pids()
            _signal(stopped, signal.SIGKILL)
            for pid in stopped:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            if time.monotonic() > deadline:
                return False
            time.sleep(0.0005)
        return True

    def _pids(self) -> list[int]:
        children = _families()
        found, queue = [], [os.getpid()]
        while queue:
            below = [pid for pid in children.get(queue.pop(), []) if pid not in self._spared]
            found += below
            queue += below
        return found


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def threads_of(uid: int) -> int:
    """How many threads the user has now: what RLIMIT_NPROC counts."""
    count = 0
    for pid in _all_pids():
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid == uid:
                count += len(os.listdir(f"/proc/{pid}/task"))
    return count


def _families() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for pid in _all_pids():
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:
            parent = int(file.read().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(pid)
    return children


def _all_pids() -> Iterator[int]:
    with contextlib.suppress(FileNotFoundError):
        yield from (int(name) for name in os.listdir("/proc") if name.isdigit())


def _usage(pids: Sequence[int], exact_above: int) -> Usage:
    memory = {pid: _private_bytes(pid) for pid in pids}
    if sum(memory.values()) > exact_above:
        memory = {pid: _proportional_bytes(pid, rough) for pid, rough in memory.items()}
    return Usage(len(pids), sum(memory.values()))


def _private_bytes(pid: int) -> int:
    """Resident pages that are no file's, those included that are still shared with a fork."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm", "rb") as file:
        fields = file.read().split()
        return (int(fields[1]) - int(fields[2])) * _PAGE
    return 0


def _proportional_bytes(pid: int, otherwise: int) -> int:
    """The same, each page divided among those that share it; needs the right to trace `pid`."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        return sum(1024 * int(line.split()[1]) for line in file if line.startswith(b"Pss_Anon:"))
    return otherwise


def _reap_all() -> bool:
    """True when this process has no children left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False
