"""A `Teacher` that a function answers: no endpoint, every question kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forge.errors import TeacherError
from forge.records import Message, TeacherAnswer


class FakeTeacher:
    """Answers each question with what `script` makes of its last message; an empty answer raises `TeacherError`.

    A question that was asked before is answered from memory, as the contract says. `asked` has the new ones.
    """

    def __init__(self, script: Callable[[str], str]) -> None:
        self._script = script
        self._known: dict[tuple[Message, ...], TeacherAnswer] = {}
        self.asked: list[tuple[Message, ...]] = []

    async def ask(self, messages: Sequence[Message]) -> TeacherAnswer:
        question = tuple(messages)
        if question in self._known:
            return self._known[question].model_copy(update={"cached": True})
        self.asked.append(question)
        text = self._script(question[-1].content)
        if not text:
            raise TeacherError("the fake teacher was told to say nothing")
        words = sum(len(message.content.split()) for message in question)
        self._known[question] = TeacherAnswer(text=text, prompt_tokens=words, completion_tokens=len(text.split()))
        return self._known[question]

    async def close(self) -> None:
        """Nothing to end."""
