"""Rows in, the same rows with what the teacher adds out. A row that it fails keeps the error and goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from forge.config import EnrichConfig
from forge.errors import TeacherError, TeacherRefusedError
from forge.mining.enrich.explanation import explanation_of
from forge.mining.enrich.instruction import instruction_of
from forge.mining.enrich.judge import judgement_of
from forge.mining.enrich.question import Piece
from forge.mining.enrich.seed import Exercise, exercise_of
from forge.mining.row import Row
from forge.records import Record
from forge.seams import Teacher
from forge.teacher.spent import FAILED, Spent

Around = Callable[[Row], Sequence[Piece]]
"""What stands around a row's change in its tree."""
IssueText = Callable[[Row], str]


class Enriched(Record):
    """A row with what was added, the exercise that it inspired, and what asking took."""

    row: Row
    exercise: Exercise | None = None
    spent: Spent = Spent()


def wants_instruction(row: Row, config: EnrichConfig) -> bool:
    """Whether the teacher is asked what this row's change is for."""
    return config.instructions == "all" or (config.instructions == "poor" and bool(row.poor))


def wants_anything(row: Row, config: EnrichConfig, *, seed: bool = False) -> bool:
    """Whether the teacher is asked anything about this row; `seed`: for an exercise too."""
    return wants_instruction(row, config) or config.explain or config.judge or seed


async def enrich(
    teacher: Teacher, rows: Sequence[Row], config: EnrichConfig, around: Around, issue: IssueText, *, seeds: Sequence[str] = ()
) -> list[Enriched]:
    """The rows in their order; those whose ids are in `seeds` inspire an exercise each.

    Raises `TeacherRefusedError` only, when the teacher answers nothing at all.
    """
    asker, wanted = _Asker(teacher, around, issue), set(seeds)
    return list(await asyncio.gather(*(asker.enriched(row, config, row.id in wanted) for row in rows)))


class _Asker:
    """Asks everything about a row, one thing after another: what is explained and judged is the new instruction."""

    def __init__(self, teacher: Teacher, around: Around, issue: IssueText) -> None:
        self._teacher = teacher
        self._around = around
        self._issue = issue

    async def enriched(self, row: Row, config: EnrichConfig, seed: bool) -> Enriched:
        found = Enriched(row=row)
        steps = [
            (wants_instruction(row, config), self._instruction),
            (config.explain, self._explanation),
            (config.judge, self._judgement),
            (seed, self._exercise),
        ]
        for step in (step for wanted, step in steps if wanted):
            try:
                found = await step(found)
            except TeacherRefusedError:
                raise
            except TeacherError as error:
                found = _grown(found, FAILED, error="; ".join(filter(None, [found.row.error, str(error)])))
        return found

    async def _instruction(self, found: Enriched) -> Enriched:
        written = await instruction_of(self._teacher, found.row, self._around(found.row), self._issue(found.row))
        if not written.text:
            return _grown(found, written.spent, error=written.reason)
        return _grown(found, written.spent, instruction=written.text, instruction_by="teacher")

    async def _explanation(self, found: Enriched) -> Enriched:
        if not found.row.instruction:
            return found
        explanation, spent = await explanation_of(self._teacher, found.row, self._around(found.row))
        return _grown(found, spent, reasoning=explanation)

    async def _judgement(self, found: Enriched) -> Enriched:
        if not found.row.instruction:
            return found
        judged = await judgement_of(self._teacher, found.row)
        return _grown(found, judged.spent, score=judged.score, judged=judged.reason)

    async def _exercise(self, found: Enriched) -> Enriched:
        exercise, spent = await exercise_of(self._teacher, found.row)
        return found.model_copy(update={"exercise": exercise, "spent": found.spent + spent})


def _grown(found: Enriched, spent: Spent, **added: object) -> Enriched:
    return found.model_copy(update={"row": found.row.model_copy(update=added), "spent": found.spent + spent})
