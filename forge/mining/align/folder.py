"""Where what was aligned lies: `<workspace>/aligned`.

<root>/examples/generation/aligned.parquet   rows, as `forge train --data` reads them
<root>/kept.parquet                          what they are made of, with concepts, tests and lineage
<root>/data.json                             the data card
<root>/seeds.jsonl                           the end of every seed, a synced line each
<root>/answers/                              everything that was asked, and what was answered
"""

from __future__ import annotations

from pathlib import Path

from forge.mining.align.teach import STAGE

NAME = "aligned"


class AlignedFolder:
    """The paths of one aligned set."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def rows(self) -> Path:
        return self.root / "examples" / STAGE / f"{NAME}.parquet"

    @property
    def kept(self) -> Path:
        return self.root / "kept.parquet"

    @property
    def card(self) -> Path:
        return self.root / "data.json"

    @property
    def ends(self) -> Path:
        return self.root / "seeds.jsonl"

    @property
    def answers(self) -> Path:
        return self.root / "answers"
