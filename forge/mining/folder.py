"""Where one mined set lies.

<root>/commits/*.parquet            rows that are kept, one file a range of commits
<root>/examples/<stage>/*.parquet   what the stages learn from them
<root>/exercises/*.parquet          what a teacher invented, if anything
<root>/data.html, data.json         the data card
<root>/steps/                       what is needed to go on after an interruption; may be removed when all is done
"""

from __future__ import annotations

from pathlib import Path


class MinedFolder:
    """The paths of one mined set; `examples` lie elsewhere in the workspace of a run."""

    def __init__(self, root: Path, examples: Path | None = None) -> None:
        self.root = root
        self.examples = examples or root / "examples"

    @property
    def commits(self) -> Path:
        return self.root / "commits"

    @property
    def exercises(self) -> Path:
        return self.root / "exercises"

    @property
    def card_json(self) -> Path:
        return self.root / "data.json"

    @property
    def card_html(self) -> Path:
        return self.root / "data.html"

    @property
    def surveys(self) -> Path:
        """The commits of each repository."""
        return self.root / "steps" / "surveys"

    @property
    def read(self) -> Path:
        """Rows as they were read, and what was dropped while reading."""
        return self.root / "steps" / "read"

    @property
    def finished(self) -> Path:
        """Which shards are done, and what was dropped at the end."""
        return self.root / "steps" / "finished"

    @property
    def teacher(self) -> Path:
        """Everything that a teacher was asked, and its answers."""
        return self.root / "teacher"

    @property
    def clones(self) -> Path:
        """Repositories that were given by address."""
        return self.root / "clones"
