"""A teacher that acts: the `ChatModel` in which some model ids are answered by a larger model, in the base's own tokens.

What it writes becomes training rows of the small base, so its text is cut into that base's tokens; its log-probabilities are not
known and are given as zero, which nothing but the canaries, that are never made of a teacher's answers, would read.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence

from forge.endpoint.tokens import BaseTokenizer
from forge.errors import EndpointError, TeacherError
from forge.seams import ChatModel, Sample, SampleRequest, Teacher

PREFIX = "teacher@"
"""`teacher@planning`: the teacher in the place of a stage."""
CERTAIN, IMPOSSIBLE = 0.0, -20.0


class ActingTeacher:
    """Answers `teacher@STAGE` by asking the teacher the stage's messages; every other model id goes to `model`."""

    def __init__(self, model: ChatModel, teacher: Teacher, tokenizers: Mapping[str, BaseTokenizer]) -> None:
        """`tokenizers` are by stage."""
        self._model, self._teacher, self._tokenizers = model, teacher, tokenizers

    async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        """One sample for each request, in order. Raises `EndpointError`."""
        if not requests or not requests[0].model_id.startswith(PREFIX):
            return await self._model.sample(requests)
        return list(await asyncio.gather(*map(self._ask, requests)))

    async def _ask(self, request: SampleRequest) -> Sample:
        tokenizer = self._tokenizers[request.model_id.removeprefix(PREFIX)]
        try:
            answer = await self._teacher.ask(request.messages)
        except TeacherError as error:
            raise EndpointError(str(error)) from error
        if request.choices:
            yes = bool(re.match(r"\W*yes\b", answer.text, re.IGNORECASE))
            chosen = tokenizer.yes_id if yes else tokenizer.no_id
            scores = tuple(CERTAIN if choice == chosen else IMPOSSIBLE for choice in request.choices)
            return Sample(completion_ids=(chosen,), logprobs=(0.0,), choice_logprobs=scores, finish="stop")
        ids = (*tokenizer.encode(answer.text.strip()), tokenizer.end_id)
        kept = ids[: request.max_tokens]
        whole = len(kept) == len(ids) and not answer.cut
        return Sample(completion_ids=kept, logprobs=(0.0,) * len(kept), finish="stop" if whole else "length")
