"""Lessons and pairs in the shapes that trainers read: Alpaca, chat messages, prompt and completion, preferences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from forge.mining.formats.folder import Line
from forge.mining.formats.format import Source
from forge.mining.formats.lesson import Lesson, lessons_of
from forge.mining.formats.pair import pairs_of
from forge.mining.row import Row
from forge.records import Drop, Message

PREFERENCES = "preference"
"""The part in which pairs stand where a format has lessons too."""
Spoken = list[dict[str, str]]


def alpaca(source: Source) -> Iterator[Line | Drop]:
    """`instruction`, `input`, `output`."""
    for lesson in lessons_of(source):
        if isinstance(lesson, Drop):
            yield lesson
        else:
            yield _line(lesson, {"instruction": lesson.instruction, "input": lesson.context, "output": lesson.answer})


def messages(source: Source) -> Iterator[Line | Drop]:
    """`messages`, the answer last (ChatML, OpenAI's fine-tuning)."""
    for lesson in lessons_of(source):
        yield lesson if isinstance(lesson, Drop) else _line(lesson, {"messages": [*spoken(lesson.prompt), *_said(lesson.answer)]})


def prompt_completion(source: Source) -> Iterator[Line | Drop]:
    """`prompt` and `completion`, both lists of messages: TRL's conversational form, whose loss leaves the prompt out."""
    for lesson in lessons_of(source):
        if isinstance(lesson, Drop):
            yield lesson
        else:
            yield _line(lesson, {"prompt": spoken(lesson.prompt), "completion": _said(lesson.answer)})


def preference(source: Source) -> Iterator[Line | Drop]:
    """`prompt`, `chosen`, `rejected`, each a list of messages: TRL's conversational form for DPO."""
    if not isinstance(source, Row):
        yield Drop(sha="", reason="only rows have wrong edits")
        return
    for pair in pairs_of(source):
        if isinstance(pair, Drop):
            yield pair
        else:
            about = {"id": pair.id, "source": pair.source, "licence": pair.licence}
            sides = {"prompt": spoken(pair.prompt), "chosen": _said(pair.chosen), "rejected": _said(pair.rejected)}
            yield Line(sides | about, heldout=pair.heldout)


def messages_and_preferences(source: Source) -> Iterator[Line | Drop]:
    """`messages`, and in a part of their own the pairs as `messages`, `chosen` and `rejected`, the latter one message each."""
    yield from messages(source)
    for line in preference(source) if isinstance(source, Row) else ():
        if isinstance(line, Line):
            said = {"messages": line.fields["prompt"], "chosen": line.fields["chosen"][0], "rejected": line.fields["rejected"][0]}
            about = {name: line.fields[name] for name in ("id", "source", "licence")}
            yield Line(said | about, part=PREFERENCES, heldout=line.heldout)


def spoken(prompt: Sequence[Message]) -> Spoken:
    """Messages as every trainer takes them."""
    return [{"role": message.role, "content": message.content} for message in prompt]


def _said(answer: str) -> Spoken:
    return [{"role": "assistant", "content": answer}]


def _line(lesson: Lesson, fields: dict[str, object]) -> Line:
    return Line(fields | lesson.about, part=lesson.part, heldout=lesson.heldout)
