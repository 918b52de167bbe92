"""Bytes by key in one SQLite file of bounded size: what can be made again, kept because making it takes long.

Safe under many readers and writers and whatever gets killed: an entry is there whole or not at all. Nothing here raises: a cache that
cannot be read or written (locked too long, no space, broken) costs time and is told in the log; a broken file is thrown away.
It does not protect against somebody who can write the file, which its owner alone may.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

DAY = 86_400
"""Seconds for which an entry's last use is not written down again."""
_AT_ONCE = 500
_TABLE = "CREATE TABLE IF NOT EXISTS entry (key BLOB PRIMARY KEY, used INTEGER, size INTEGER, body BLOB)"
_USED = "CREATE INDEX IF NOT EXISTS entry_used ON entry (used, size)"

log = logging.getLogger(__name__)


class Cache:
    """Entries in the file at `path`, whose bodies are at most `max_bytes` together; those not used for longest go first."""

    def __init__(self, path: Path, max_bytes: int, *, wait_s: float = 5.0, clock: Callable[[], float] = time.time) -> None:
        self.path, self._max_bytes, self._wait_s, self._clock = path, max_bytes, wait_s, clock

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The entries of these keys that are there."""
        return self._tried(lambda base: dict(self._found(base, keys)), {}) if keys else {}

    def put(self, entries: Mapping[bytes, bytes]) -> None:
        """Keep these entries, as many of them as there is room for."""
        if entries:
            self._tried(lambda base: self._write(base, entries), None)

    def _tried(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        try:
            with closing(self._open()) as base:
                return work(base)
        except sqlite3.OperationalError as error:
            log.warning("the cache %s is not used this time: %s", self.path, error)
        except sqlite3.DatabaseError as error:
            log.warning("the cache %s is broken and begun anew: %s", self.path, error)
            for tail in ("", "-wal", "-shm"):
                Path(f"{self.path}{tail}").unlink(missing_ok=True)
        except OSError as error:
            log.warning("the cache %s is not used: %s", self.path, error)
        return otherwise

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        base = sqlite3.connect(self.path, timeout=self._wait_s, isolation_level=None)
        try:
            base.execute("PRAGMA journal_mode=WAL")
            base.execute("PRAGMA synchronous=NORMAL")
            base.execute("PRAGMA journal_size_limit=1048576")
            base.execute(_TABLE)
            base.execute(_USED)
        except sqlite3.Error:
            base.close()
            raise
        return base

    def _found(self, base: sqlite3.Connection, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
        now, stale = int(self._clock()), []
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            for key, used, body in base.execute(f"SELECT key, used, body FROM entry WHERE key IN ({marks})", some):  # noqa: S608
                yield key, body
                if used < now - DAY:
                    stale.append((now, key))
        if stale:
            with suppress(sqlite3.OperationalError):  # on a full disk what is there can still be read
                base.execute("BEGIN IMMEDIATE")
                base.executemany("UPDATE entry SET used = ? WHERE key = ?", stale)
                base.execute("COMMIT")

    def _write(self, base: sqlite3.Connection, entries: Mapping[bytes, bytes]) -> None:
        now = int(self._clock())
        base.execute("BEGIN IMMEDIATE")
        (held,) = base.execute("SELECT coalesce(sum(size), 0) FROM entry").fetchone()
        kept, room = [], self._max_bytes
        for key, body in entries.items():
            if len(body) <= room:
                kept.append((key, now, len(body), body))
                room -= len(body)
        over = held - room
        for key, size in base.execute("SELECT key, size FROM entry ORDER BY used").fetchall() if over > 0 else ():
            if over <= 0:
                break
            base.execute("DELETE FROM entry WHERE key = ?", (key,))
            over -= size
        base.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?)", kept)
        base.execute("COMMIT")
