"""The reasoning behind a change, for the analysis and planning rows."""

from __future__ import annotations

from collections.abc import Sequence

from forge.errors import TeacherError
from forge.mining.enrich.question import Piece, question
from forge.mining.row import Row
from forge.seams import Teacher
from forge.stages.stage import Explanation
from forge.teacher.prompt import tagged
from forge.teacher.spent import Spent, spent_on

MAX_CHARACTERS = 1_200
"""Of either part: about 300 tokens, which `LoraDefaults.explanation_tokens` leaves room for."""


async def explanation_of(teacher: Teacher, row: Row, around: Sequence[Piece] = ()) -> tuple[Explanation, Spent]:
    """Why the change is the right one, and what asking took. Raises `TeacherError` when a part is missing or too long."""
    answer = await teacher.ask(question("explanation", row, around))
    return Explanation(analysis=_part(answer.text, "analysis"), plan=_part(answer.text, "plan")), spent_on(answer)


def _part(text: str, name: str) -> str:
    """One part, on one line: what stands alone on a line of an answer is read as a step."""
    part = " ".join((tagged(text, name) or "").split())
    if not part:
        raise TeacherError(f"the teacher's explanation has no {name}")
    if len(part) > MAX_CHARACTERS:
        raise TeacherError(f"the {name} of the teacher's explanation has {len(part)} characters, {MAX_CHARACTERS} are the most")
    return part
