"""Records kept a line at a time, each synced, so that a run that is killed goes on: samples, proofs, verdicts.

Nothing is ever removed: a record says by its key what it depends on, and a run counts the keys that it asks for.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from forge.errors import EnvironmentLackError
from forge.records import Keyed

K = TypeVar("K", bound=Keyed)
SICK_SHARE, SICK_MINIMUM = 0.25, 20
"""Work of which this share of at least so many pieces was lost to infrastructure is stopped, not averaged."""


def stop_if_sick(done: int, masked: Counter[str], pieces: str) -> None:
    """Return while few of what is `done` are lost, by reason; raises `EnvironmentLackError` otherwise."""
    lost = masked.total()
    if done >= SICK_MINIMUM and lost > SICK_SHARE * done:
        reason = masked.most_common(1)[0][0]
        raise EnvironmentLackError(f"{lost} of {done} {pieces} were lost to infrastructure ({reason}); mend that and run again")


class Kept(Generic[K]):
    """The records of one file by key; of two with the same key the later one. A torn line is ignored."""

    def __init__(self, path: Path, kind: type[K]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.known: dict[str, K] = {}
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []:
            try:
                record = kind.model_validate_json(line)
            except ValidationError:
                continue
            self.known[record.key] = record
        self._file = path.open("a", encoding="utf-8")
        if self._file.tell():
            self._file.write("\n")  # ends a torn line

    def add(self, record: K) -> None:
        """Keep it for good."""
        self._file.write(record.model_dump_json() + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.known[record.key] = record

    def close(self) -> None:
        """Let go of the file; safe to call twice."""
        self._file.close()
