"""`Lesson`: what is asked, what is shown, and the answer, the same for rows, stage examples and exercises of public sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from forge.mining.formats.blocks import blocks_of
from forge.mining.formats.format import Source
from forge.mining.public.instruct import Instruct
from forge.mining.row import Row
from forge.records import Drop, Example, FileChange, Message, Record
from forge.stages.edits import DIVIDER, REPLACE, SEARCH

HOW = (
    f"Answer with edits only, each written as the file's path on a line of its own, '{SEARCH}', the lines to replace exactly as they "
    f"stand, '{DIVIDER}', the new lines, '{REPLACE}'. A block with nothing to search for makes a new file."
)
"""What the answers to rows look like; said in their prompts."""


class Lesson(Record):
    """One prompt and its answer, as chat messages and as the plain parts that they were made of."""

    id: str
    part: str = ""
    """The stage of an example; empty for all else."""
    heldout: bool = False
    prompt: tuple[Message, ...]
    instruction: str
    context: str = ""
    answer: str
    source: str
    """Repository or public set."""
    licence: str = ""

    @property
    def about(self) -> dict[str, str]:
        """The columns that say where a line comes from."""
        return {"id": self.id, "source": self.source, "licence": self.licence}


def lessons_of(source: Source) -> Iterator[Lesson | Drop]:
    """The lesson that a source is, or why it is none."""
    if isinstance(source, Example):
        yield _of_example(source)
    elif isinstance(source, Row):
        yield _of_row(source)
    else:
        yield _of_instruct(source)


def asked(row: Row) -> str:
    """What the row's commit was asked for: an instruction, else its message unless that is poor, else what its tests show."""
    return row.instruction or ("" if row.poor else row.message) or (row.change.statement if row.change else "")


def shown(files: Sequence[FileChange]) -> str:
    """The files as they were before, each under its path."""
    return "\n".join(f"{file.path}\n```\n{file.before.rstrip()}\n```" for file in files if file.before is not None)


def _of_row(row: Row) -> Lesson | Drop:
    task = asked(row)
    if not task:
        return Drop(sha=row.commit, reason="nothing says what was asked")
    answer = blocks_of(row.files)
    if isinstance(answer, Drop):
        return answer
    context = shown(row.files)
    user = f"# task\n{task}" + (f"\n# files\n{context}" if context else "")
    return Lesson(
        id=row.id,
        heldout=row.heldout,
        prompt=(Message(role="system", content=HOW), Message(role="user", content=user)),
        instruction=f"{task}\n\n{HOW}",
        context=context,
        answer=answer,
        source=row.repo,
        licence=row.licence,
    )


def _of_example(example: Example) -> Lesson | Drop:
    if not example.completion or not example.messages:
        return Drop(sha=example.lineage.commit or "", reason="an example without prompt or answer")
    first, *others = example.messages
    return Lesson(
        id=f"{example.stage}-{example.content_hash()[:16]}",
        part=example.stage,
        prompt=example.messages,
        instruction=first.content,
        context="\n\n".join(message.content for message in others),
        answer=example.completion,
        source=example.lineage.repo,
    )


def _of_instruct(exercise: Instruct) -> Lesson | Drop:
    if not exercise.instruction.strip() or not exercise.answer.strip():
        return Drop(sha=exercise.id, reason="an exercise without question or answer")
    both = f"{exercise.instruction}\n\n{exercise.context}" if exercise.context else exercise.instruction
    return Lesson(
        id=exercise.id,
        prompt=(Message(role="user", content=both),),
        instruction=exercise.instruction,
        context=exercise.context,
        answer=exercise.answer,
        source=exercise.source,
        licence=exercise.licence,
    )
