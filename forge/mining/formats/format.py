"""What a format is: from rows, examples and exercises to a folder that a trainer reads, every one left out counted."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from forge.mining.formats.folder import Line, Part, Writer, staged
from forge.mining.public.instruct import Instruct
from forge.mining.row import Row
from forge.records import Drop, Example

Source = Row | Example | Instruct
Lines = Callable[[Source], Iterator[Line | Drop]]
MANIFEST = "manifest.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Format:
    """A way to write training data down."""

    name: str
    help: str
    """One line for a person who has to choose."""
    lines: Lines
    """The lines that one source becomes, or why it becomes none."""
    beside: Callable[[Sequence[Part]], Mapping[str, str]] | None = None
    """Further small files by path, such as a trainer's description of the data files."""
    kind: str = "jsonl"
    """`jsonl` or `parquet`."""

    def write(self, sources: Iterable[Source], folder: Path) -> list[Path]:
        """Write everything to `folder`, which appears whole or not at all; returns its files, the manifest last.

        `sources` are read once and never held. The manifest has the rows of each file and the drops by reason. Held-out
        rows go to `test` files. Raises `ConfigError` when the folder holds something already.
        """
        drops: Counter[str] = Counter()
        taken = 0
        with staged(folder) as temporary:
            with Writer(temporary, self.kind) as writer:
                for source in sources:
                    taken += 1
                    for line in self.lines(source):
                        if isinstance(line, Drop):
                            drops[line.reason] += 1
                        else:
                            writer.add(line)
            parts = writer.parts()
            manifest = {
                "format": self.name,
                "sources": taken,
                "rows": {part.path: part.rows for part in parts},
                "dropped": dict(sorted(drops.items())),
            }
            further = {**(self.beside(parts) if self.beside else {}), MANIFEST: json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"}
            for name, text in further.items():
                (temporary / name).write_text(text, encoding="utf-8")
        logger.info("%s: %d sources became %d rows in %s; dropped: %s", self.name, taken, sum(p.rows for p in parts), folder, dict(drops))
        return [folder / name for name in (*(part.path for part in parts), *further)]
