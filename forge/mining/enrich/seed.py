"""New exercises that diffs inspire (OSS-Instruct, arXiv 2312.02120)."""

from __future__ import annotations

import ast

from forge.errors import TeacherError
from forge.mining.enrich.question import question
from forge.mining.row import Row
from forge.records import Record
from forge.seams import Teacher
from forge.teacher.prompt import tagged
from forge.teacher.spent import Spent, spent_on


class Exercise(Record):
    """A problem that stands on its own, and a solution that nobody has run."""

    seed: str
    """Id of the row that inspired it."""
    language: str
    problem: str
    solution: str
    licence: str
    """Of the code that inspired it."""


async def exercise_of(teacher: Teacher, row: Row) -> tuple[Exercise, Spent]:
    """An exercise, and what it took. Raises `TeacherError` when it is incomplete or its Python does not parse."""
    answer = await teacher.ask(question("seed", row))
    problem, solution = tagged(answer.text, "problem"), tagged(answer.text, "solution")
    if not problem or not solution:
        raise TeacherError("the teacher's exercise has no problem or no solution")
    language = row.languages[0] if row.languages else ""
    code = _bare(solution)
    if language == "python":
        _parse(code)
    return Exercise(seed=row.id, language=language, problem=problem, solution=code, licence=row.licence), spent_on(answer)


def _bare(solution: str) -> str:
    """Code without the fence that models like to put around it."""
    lines = solution.strip().splitlines()
    if lines and lines[0].startswith("```") and lines[-1].strip() == "```":
        lines = lines[1:-1]
    return "\n".join(lines) + "\n"


def _parse(code: str) -> None:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise TeacherError(f"the teacher's solution does not parse: {error}") from error
