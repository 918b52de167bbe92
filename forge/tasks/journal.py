"""What has been tried: one JSON line a unit, so that a run that was killed goes on where it was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Generic, TypeVar

from pydantic import ValidationError

from forge.records import Environment, Record, Task


class Entry(Record):
    """The end of one unit of work, by the unit's key."""

    key: str


class Tried(Entry):
    """The end of one unit: its task, or nothing and the reasons why not."""

    task: Task | None
    refused: dict[str, int] = {}
    flaky_ids: int = 0
    environment: Environment | None = None
    """Where the task's code runs, when that is not forge's own Python."""
    seconds: float = 0.0
    """Wall clock of the attempt on its worker."""
    operators: dict[str, int] = {}
    """Bugs tried by operator, where they were planned one by one, and of these …"""
    noticed: dict[str, int] = {}
    """… those that the tests noticed."""
    lost: str = ""
    """Why boxes failed it; such a unit is not in the journal and is tried again next time."""


E = TypeVar("E", bound=Entry)


class Journal(Generic[E]):
    """Append-only, synced a line at a time; a torn last line is ignored. Another `fingerprint` starts it afresh."""

    def __init__(self, path: Path, fingerprint: str, kind: type[E]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        known = _read(path, fingerprint, kind)
        self.tried: dict[str, E] = known or {}
        self._file: IO[str] = path.open("w" if known is None else "a", encoding="utf-8")
        self._write(fingerprint if known is None else "")  # an empty line ends a torn one

    def add(self, tried: E) -> None:
        """Keep this for good."""
        self.tried[tried.key] = tried
        self._write(tried.model_dump_json())

    def close(self) -> None:
        """Let go of the file; safe to call twice."""
        self._file.close()

    def _write(self, line: str) -> None:
        self._file.write(line + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _read(path: Path, fingerprint: str, kind: type[E]) -> dict[str, E] | None:
    """What the file holds, `None` when there is no file for this fingerprint."""
    if not path.exists():
        return None
    first, *lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    if first != fingerprint:
        return None
    found: dict[str, E] = {}
    for line in lines:
        try:
            tried = kind.model_validate_json(line)
        except ValidationError:
            continue
        found[tried.key] = tried
    return found
