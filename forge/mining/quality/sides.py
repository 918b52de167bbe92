"""Which rows are held out, so that nothing that is trained on gives away what is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from forge.config import SplitConfig
from forge.exam.split import Split, side_of
from forge.records import Record


class Placed(Record):
    """A row as the split sees it."""

    id: str
    repo: str
    authored_at: str
    paths: tuple[str, ...]


class Sides(Record):
    """Ids of the rows that are held out, and by repository the files that no training row may show."""

    heldout: frozenset[str] = frozenset()
    paths: dict[str, tuple[str, ...]] = {}


def sides(rows: Iterable[Placed], config: SplitConfig) -> Sides:
    """The held-out side of a set; empty when nothing is to be held out."""
    if not config.heldout:
        return Sides()
    placed = list(rows)
    if config.by == "time":
        return _by_time(placed, config.heldout)
    if config.by == "repository":
        return Sides(heldout=frozenset(row.id for row in placed if side_of(row.repo, "", config.heldout) == "heldout"))
    return _by_files(placed, config.heldout)


def _by_time(placed: list[Placed], share: float) -> Sides:
    """The newest; they may touch files that training rows touch, as a later task of the same repository does."""
    newest = sorted(placed, key=lambda row: (row.authored_at, row.id), reverse=True)[: round(share * len(placed))]
    return Sides(heldout=frozenset(row.id for row in newest))


def _by_files(placed: list[Placed], share: float) -> Sides:
    """Files that are touched together are on one side, by the hash that tasks are split by."""
    splits: dict[str, Split] = {}
    for row in placed:
        splits.setdefault(row.repo, Split(row.repo, share)).join(row.paths, always=True)
    heldout = frozenset(row.id for row in placed if splits[row.repo].side(row.paths[0]) == "heldout")
    hidden: Mapping[str, tuple[str, ...]] = {repo: tuple(split.on_side("heldout")) for repo, split in splits.items()}
    return Sides(heldout=heldout, paths={repo: paths for repo, paths in hidden.items() if paths})
