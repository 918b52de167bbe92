"""What mining gave, and where every commit went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from forge.records import Drop, Record
from forge.teacher.spent import Spent


class MiningCounts(Record):
    """Counts of a whole set or a part of it: `commits` = `survivors` + all `drops`."""

    repositories: int = 0
    commits: int = 0
    survivors: int = 0
    """Commits that became rows which are kept."""
    teaching: int = 0
    """Rows that the stages learn from."""
    drops: dict[str, int] = {}
    silent: dict[str, int] = {}
    """Rows that are kept but that the stages do not learn from, by reason."""
    examples: dict[str, int] = {}
    """Stage rows by stage."""
    heldout: int = 0
    """Kept rows on the held-out side; no stage learns from them."""
    exercises: int = 0
    failures: dict[str, str] = {}
    """Ranges that could not be read, as `repo@skip`, with the reason; their commits are in no other count."""
    spent: Spent = Spent()
    """What asking the teacher took."""

    def __add__(self, other: MiningCounts) -> MiningCounts:
        return MiningCounts(
            repositories=self.repositories + other.repositories,
            commits=self.commits + other.commits,
            survivors=self.survivors + other.survivors,
            teaching=self.teaching + other.teaching,
            drops=dict(Counter(self.drops) + Counter(other.drops)),
            silent=dict(Counter(self.silent) + Counter(other.silent)),
            examples=dict(Counter(self.examples) + Counter(other.examples)),
            heldout=self.heldout + other.heldout,
            exercises=self.exercises + other.exercises,
            failures={**self.failures, **other.failures},
            spent=self.spent + other.spent,
        )


def by_reason(drops: Iterable[Drop]) -> dict[str, int]:
    """Drops counted by reason."""
    return dict(Counter(drop.reason for drop in drops))
