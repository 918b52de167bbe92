"""The rows of a mined set, file by file."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from forge.errors import WorkspaceError
from forge.mining.folder import MinedFolder
from forge.mining.row import Row
from forge.records import STAGES, Example
from forge.store.parquet import read_records

T = TypeVar("T")


def rows_of(root: Path) -> Iterator[Row]:
    """Every kept row, in the order of files. Raises `WorkspaceError` when the folder holds no mined set."""
    folder = MinedFolder(root)
    if not folder.commits.is_dir():
        raise WorkspaceError(f"{root} holds no mined set; give the folder that forge mine wrote (--out)")
    for file in sorted(folder.commits.glob("*.parquet")):
        yield from read_records(file, Row)


def examples_in(root: Path, stage: str) -> Iterator[Example]:
    """Every row of one stage, of a mined set or of a run's workspace."""
    folder = root / "examples" / stage
    if stage not in STAGES:
        raise WorkspaceError(f"there is no stage {stage}; the stages are {', '.join(STAGES)}")
    if not folder.is_dir():
        raise WorkspaceError(f"{root} has no rows of {stage}; give the folder that forge mine wrote, or a run's workspace")
    for file in sorted(folder.glob("*.parquet")):
        yield from read_records(file, Example)


def sampled(items: Iterator[T], count: int, seed: int) -> list[T]:
    """`count` of the items, each with the same chance, in their order (reservoir sampling)."""
    chance = random.Random(seed)
    kept: list[tuple[int, T]] = []
    for number, item in enumerate(items):
        if len(kept) < count:
            kept.append((number, item))
        elif (place := chance.randrange(number + 1)) < count:
            kept[place] = number, item
    return [item for _, item in sorted(kept, key=lambda pair: pair[0])]
