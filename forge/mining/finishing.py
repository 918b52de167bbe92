"""Rows that the whole set keeps get what a teacher adds, become what the stages learn from, and are done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path

from forge.config import MiningConfig
from forge.mining.enrich.around import around
from forge.mining.enrich.enrich import Enriched, enrich, wants_anything
from forge.mining.enrich.issues import Issues
from forge.mining.enrich.question import Piece
from forge.mining.enrich.seed import Exercise
from forge.mining.functions import Functions
from forge.mining.row import Row
from forge.mining.symbols import NearSymbols
from forge.mining.teaching import commit_of, examples_of, taught
from forge.records import Drop, Example, Record
from forge.seams import Teacher
from forge.stages.stage import PromptStyle
from forge.teacher.spent import Spent

TOGETHER = 128
"""Rows that a teacher is asked about at once; its own limit is lower."""


class Verdict(Record):
    """What the whole set says about the rows of one shard."""

    drops: dict[str, str] = {}
    """Reasons by id of the rows that go."""
    heldout: tuple[str, ...] = ()
    """Ids of the rows that nothing learns from."""
    seeds: tuple[str, ...] = ()
    """Ids of the rows that inspire exercises."""
    heldout_paths: tuple[str, ...] = ()
    """Files of this repository that no training row shows."""


class Finished(Record):
    """The end of one row, and what came of it."""

    end: Row | Drop
    examples: tuple[Example, ...] = ()
    exercise: Exercise | None = None
    spent: Spent = Spent()


class Finisher:
    """Finishes rows of one repository with one configuration."""

    def __init__(
        self,
        config: MiningConfig,
        near: NearSymbols,
        *,
        style: PromptStyle = "full",
        make_teacher: Callable[[], Teacher] | None = None,
        issues: Path | None = None,
    ) -> None:
        self._config = config
        self._near = near
        self._style = style
        self._functions = Functions()
        self._make_teacher = make_teacher
        self._issues = Issues(issues)

    def finish(self, rows: Iterable[Row], verdict: Verdict, heldout: Collection[str] = ()) -> Iterator[Finished]:
        """The end of every row, in their order. Raises `TeacherRefusedError` when the teacher answers nothing at all."""
        hidden = frozenset((*heldout, *verdict.heldout_paths))
        outside = frozenset(verdict.heldout)
        source = iter(rows)
        while some := list(islice(source, TOGETHER)):
            kept = [self._begun(row, outside) for row in some if row.id not in verdict.drops]
            told = self._told(kept, verdict.seeds, hidden)
            ends = dict(zip((row.id for row in kept), self._taught(kept, told, hidden), strict=True))
            for row in some:
                yield ends.get(row.id) or Finished(end=Drop(sha=row.commit, reason=verdict.drops[row.id]))

    def _begun(self, row: Row, outside: Collection[str]) -> Row:
        return row.model_copy(update={"heldout": row.id in outside, "functions": self._functions.changed(row.files)})

    def _told(self, rows: Collection[Row], seeds: Collection[str], hidden: Collection[str]) -> Mapping[str, Enriched]:
        """By id, what the teacher adds to those rows that it is asked about; it sees no `hidden` path either, or might tell of it."""
        asked = [row for row in rows if wants_anything(row, self._config.enrich, seed=row.id in seeds)]
        if self._make_teacher is None or not asked:
            return {}
        found = asyncio.run(self._ask(self._make_teacher(), asked, seeds, hidden))
        return {one.row.id: one for one in found}

    async def _ask(self, teacher: Teacher, rows: list[Row], seeds: Collection[str], hidden: Collection[str]) -> list[Enriched]:
        try:
            return await enrich(teacher, rows, self._config.enrich, partial(self._around, hidden), self._issues.of, seeds=tuple(seeds))
        finally:
            await teacher.close()

    def _around(self, hidden: Collection[str], row: Row) -> list[Piece]:
        commit = commit_of(row)
        near = self._near.of(commit) if commit.files else ()
        return around(row, [symbol for symbol in near if symbol.path not in hidden])

    def _taught(self, rows: Iterable[Row], told: Mapping[str, Enriched], hidden: Collection[str]) -> Iterator[Finished]:
        grown = [told[row.id].row if row.id in told else row for row in rows]
        for row, end in zip(grown, taught(grown, self._near, self._config, hidden), strict=True):
            added = told.get(row.id)
            finished = Finished(end=self._judged(end), exercise=added.exercise if added else None, spent=added.spent if added else Spent())
            if isinstance(finished.end, Row) and finished.end.change and not finished.end.heldout:
                finished = finished.model_copy(update={"examples": tuple(examples_of(finished.end.change, self._style))})
            yield finished

    def _judged(self, end: Row | Drop) -> Row | Drop:
        if isinstance(end, Row) and end.score is not None and end.score < self._config.enrich.least_score:
            return Drop(sha=end.commit, reason="the judge scores it too low")
        return end
