"""A `ChatTokenizer` whose token ids are code points: what a test reads is what a model was sent."""

from __future__ import annotations

from collections.abc import Sequence

from forge.records import Message

_YES, _NO, _END = 0xE000, 0xE001, 0xE002
"""Code points of Unicode's private use area stand for the tokens that have a meaning of their own."""
_WORDS = {_YES: "yes", _NO: "no", _END: ""}


class FakeTokenizer:
    """Implements `forge.seams.ChatTokenizer`; `encode` makes a scripted answer with its end token."""

    yes_id, no_id, end_id = _YES, _NO, _END

    def render(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Code points of `role: content` lines."""
        return tuple(map(ord, "\n".join(f"{message.role}: {message.content}" for message in messages)))

    def decode(self, ids: Sequence[int]) -> str:
        """The text again."""
        return "".join(_WORDS.get(i, chr(i)) for i in ids)

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of an answer that ends by itself."""
        return (*map(ord, text), _END)
