"""`Sketch`: as much of a row as comparing the whole set needs."""

from __future__ import annotations

from datetime import UTC, datetime

from forge.config import MiningConfig
from forge.mining.quality.duplicates import Fingerprint, fingerprint_of
from forge.mining.row import Row
from forge.records import Record


class Sketch(Record):
    """A row in about a kilobyte."""

    id: str
    repo: str
    age: str
    """When it was written, in UTC, so that text sorts as time does."""
    paths: tuple[str, ...]
    message_size: int
    diff_size: int
    print: Fingerprint


class Sketcher:
    """Draws sketches with one configuration."""

    def __init__(self, config: MiningConfig) -> None:
        self._config = config.duplicates

    def of(self, row: Row) -> Sketch:
        """The sketch of a row."""
        paths = dict.fromkeys(path for file in row.files for path in (file.path, file.old_path) if path)
        return Sketch(
            id=row.id,
            repo=row.repo,
            age=in_utc(row.authored_at),
            paths=tuple(paths),
            message_size=len(row.message),
            diff_size=len(row.diff),
            print=fingerprint_of(row.diff, self._config),
        )


def in_utc(authored_at: str) -> str:
    """An ISO date as UTC; as it stands when it is no date that Python knows, which some histories have."""
    try:
        return datetime.fromisoformat(authored_at).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        return authored_at
