"""A `ChatModel` that a function answers: no server, no waiting, every request kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from forge.errors import EndpointError
from forge.seams import Sample, SampleRequest

Script = Callable[[SampleRequest], Sequence[int] | Sample]
"""Answers a request with completion ids (the end token included), or with a whole `Sample`."""


class FakeChatModel:
    """Answers each request with `script`; keeps what it was asked in `asked`.

    A plain id sequence becomes a sample whose logprobs are all 0 (certain); of the request's `choices` the chosen
    one has logprob 0 and the others -20. Model ids outside `known` raise `EndpointError`, as does everything while
    `failures` is above 0, which counts down.
    """

    def __init__(self, script: Script, *, known: Collection[str] | None = None, failures: int = 0) -> None:
        self._script = script
        self._known = known
        self.failures = failures
        self.asked: list[SampleRequest] = []

    async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        """One sample for each request, in order. Raises `EndpointError`."""
        if self.failures > 0:
            self.failures -= 1
            raise EndpointError("the fake model server was told to fail")
        return [self._answer(request) for request in requests]

    def _answer(self, request: SampleRequest) -> Sample:
        if self._known is not None and request.model_id not in self._known:
            raise EndpointError(f"there is no model '{request.model_id}'; known are {', '.join(sorted(self._known))}")
        self.asked.append(request)
        answer = self._script(request)
        return answer if isinstance(answer, Sample) else _certain(request, tuple(answer))


def _certain(request: SampleRequest, ids: tuple[int, ...]) -> Sample:
    kept = ids[: request.max_tokens]
    if request.choices and kept[:1] and kept[0] not in request.choices:
        raise ValueError(f"the script answered {kept[0]}, which is none of the choices {request.choices}")
    return Sample(
        completion_ids=kept,
        logprobs=(0.0,) * len(kept),
        choice_logprobs=tuple(0.0 if choice == kept[0] else -20.0 for choice in request.choices),
        finish="stop" if len(kept) == len(ids) else "length",
    )
