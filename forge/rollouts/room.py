"""What a stage is shown where not all of a situation has room in its base's context."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from forge.errors import StageError
from forge.records import Message
from forge.stages.stage import Situation


class Shown(NamedTuple):
    """A prompt in token ids, and what of the situation it tells."""

    situation: Situation
    messages: tuple[Message, ...]
    ids: tuple[int, ...]


def fitted(stage: str, situation: Situation, show: Callable[[Situation], Shown], *, answer: int, context: int | None) -> Shown:
    """The prompt with as much of the situation as leaves room for `answer` tokens in `context`; all of it where that is `None`.

    Where nothing more can be left out the answer has less room, and the engine cuts it. Raises `StageError` where it has none.
    """
    shown = show(situation)
    while not fits(shown, answer=answer, context=context):
        shorter = _shorter(stage, shown.situation)
        if shorter is not None:
            shown = show(shorter)
        elif fits(shown, answer=1, context=context):
            break
        else:
            raise StageError(f"the prompt of {stage} takes {len(shown.ids):,} tokens, and its base has room for {context:,}")
    return shown


def fits(shown: Shown, *, answer: int, context: int | None) -> bool:
    """Whether prompt and answer together have room; no limit is known where `context` is `None`."""
    return context is None or len(shown.ids) + answer <= context


def _shorter(stage: str, situation: Situation) -> Situation | None:
    """Without what matters least: the oldest rejected edit, what tests said, the candidate or symbol ranked last. Generation has its
    plan's symbols or none, and every stage that is asked about symbols one at least; review has the edits themselves."""
    if situation.rejected:
        return situation.model_copy(update={"rejected": situation.rejected[1:]})
    if situation.tests:
        return situation.model_copy(update={"tests": ""})
    if stage == "analysis" and len(situation.candidates) > 1:
        return situation.model_copy(update={"candidates": situation.candidates[:-1]})
    if (stage == "planning" and len(situation.symbols) > 1) or (stage == "review" and situation.symbols):
        return situation.model_copy(update={"symbols": situation.symbols[:-1]})
    return None
