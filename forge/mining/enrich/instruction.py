"""An instruction for a row whose message says little, written from the diff and what stands around it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from forge.mining.enrich.question import Piece, question
from forge.mining.row import Row
from forge.records import Message, Record
from forge.seams import Teacher
from forge.teacher.prompt import tagged
from forge.teacher.spent import Spent, spent_on

MAX_CHARACTERS = 1_500
MIN_QUOTE = 20
"""Characters from which on an added line that stands in an instruction gives the answer away."""
TRIES = 2
_CODE = re.compile(r"^(?:diff --git |@@ |```)", re.MULTILINE)


class Written(Record):
    """What a teacher wrote, empty when nothing could be used, what it took, and why it is empty."""

    text: str = ""
    spent: Spent = Spent()
    reason: str = ""


async def instruction_of(teacher: Teacher, row: Row, around: Sequence[Piece] = (), issue: str = "") -> Written:
    """The instruction of a row. Raises `TeacherError`."""
    asked = question("instruction", row, around, issue=issue)
    spent, reason = Spent(), ""
    for _ in range(TRIES):
        answer = await teacher.ask(asked)
        spent += spent_on(answer)
        text = tagged(answer.text, "instruction")
        if text == "":
            return Written(spent=spent, reason="the teacher says that it cannot be asked for")
        reason = _refusal(text or "", row)
        if not reason:
            return Written(text=text or "", spent=spent)
        again = f"That cannot be used: {reason}. Write it anew between <instruction> and </instruction>."
        asked = (*asked, Message(role="assistant", content=answer.text), Message(role="user", content=again))
    return Written(spent=spent, reason=reason)


def _refusal(text: str, row: Row) -> str:
    if not text:
        return "there is nothing between the tags"
    if len(text) > MAX_CHARACTERS:
        return f"it has {len(text)} characters, {MAX_CHARACTERS} are the most"
    if _CODE.search(text):
        return "it contains code"
    added = (line[1:].strip() for line in row.diff.splitlines() if line.startswith("+") and not line.startswith("+++"))
    quoted = next((line for line in added if len(line) >= MIN_QUOTE and line in text), "")
    return f"it quotes the change: {quoted}" if quoted else ""
