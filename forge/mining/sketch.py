"""`Sketch`: as much of a row as comparing the whole set needs."""

from __future__ import annotations

from forge.config import MiningConfig
from forge.mining.row import Row
from forge.records import Record


class Sketch(Record):
    """A row in a few hundred bytes."""

    id: str
    repo: str
    authored_at: str
    paths: tuple[str, ...]
    message_size: int
    diff_size: int


class Sketcher:
    """Draws sketches with one configuration."""

    kind = Sketch

    def __init__(self, config: MiningConfig) -> None:
        self._config = config

    def of(self, row: Row) -> Sketch:
        """The sketch of a row."""
        paths = dict.fromkeys(path for file in row.files for path in (file.path, file.old_path) if path)
        return Sketch(
            id=row.id,
            repo=row.repo,
            authored_at=row.authored_at,
            paths=tuple(paths),
            message_size=len(row.message),
            diff_size=len(row.diff),
        )
