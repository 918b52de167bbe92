"""The reasoning behind a change, for the analysis and planning rows."""

from __future__ import annotations

from collections.abc import Sequence

from forge.errors import TeacherError
from forge.mining.enrich.instruction import Written
from forge.mining.enrich.question import Piece, question
from forge.mining.row import Row
from forge.seams import Teacher
from forge.teacher.prompt import tagged
from forge.teacher.spent import spent_on


async def explanation_of(teacher: Teacher, row: Row, around: Sequence[Piece] = ()) -> Written:
    """Analysis and plan, a paragraph each. Raises `TeacherError` when either is missing."""
    answer = await teacher.ask(question("explanation", row, around))
    analysis, plan = tagged(answer.text, "analysis"), tagged(answer.text, "plan")
    if not analysis or not plan:
        raise TeacherError("the teacher's explanation has no analysis or no plan")
    return Written(text=f"{analysis}\n\n{plan}", spent=spent_on(answer))
