"""What a model is trained on, and what a teacher says."""

from __future__ import annotations

from forge.records.base import Message, Record
from forge.records.history import Lineage


class TeacherAnswer(Record):
    """What a teacher said, `cut` by its limit or not, and the tokens it took; `cached` when nothing was asked this time."""

    text: str
    cut: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: bool = False


class Example(Record):
    """One training row of one stage.

    Rows from rollouts carry the very token ids that were sampled (`prompt_ids`, `completion_ids`, the
    end token included) and are trained on these; rows from commits carry text only and go through the
    base's chat template.
    """

    stage: str
    messages: tuple[Message, ...]
    completion: str
    prompt_ids: tuple[int, ...] = ()
    completion_ids: tuple[int, ...] = ()
    lineage: Lineage


class Preference(Record):
    """One prompt of one stage with a better and a worse answer to it, for DPO; token-exact or text alone, as in `Example`."""

    stage: str
    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    prompt_ids: tuple[int, ...] = ()
    chosen_ids: tuple[int, ...] = ()
    rejected_ids: tuple[int, ...] = ()
    lineage: Lineage
