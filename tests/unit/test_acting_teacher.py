"""A teacher in the place of a stage: its words in the small base's tokens."""

from __future__ import annotations

import asyncio

import pytest

from forge.endpoint.acting import ActingTeacher
from forge.endpoint.tokens import BaseTokenizer
from forge.errors import EndpointError
from forge.fakes.chat_model import FakeChatModel
from forge.fakes.teacher import FakeTeacher
from forge.nano import WEIGHTS
from forge.records import Message
from forge.seams import Sample, SampleRequest

TOKENS = BaseTokenizer(WEIGHTS)


def _request(model: str, text: str = "who?", choices: tuple[int, ...] = (), limit: int = 40) -> SampleRequest:
    prompt = (Message(role="user", content=text),)
    return SampleRequest(model_id=model, prompt_ids=TOKENS.render(prompt), max_tokens=limit, choices=choices, messages=prompt)


def _sample(script: dict[str, str], *requests: SampleRequest) -> list[Sample]:
    small = FakeChatModel(lambda _: (1, 2))
    acting = ActingTeacher(small, FakeTeacher(lambda question: script.get(question, "")), {"planning": TOKENS, "review": TOKENS})
    return asyncio.run(acting.sample(requests))


def test_a_written_answer_comes_in_the_bases_own_tokens_and_ends() -> None:
    [sample] = _sample({"who?": " edit 1\n"}, _request("teacher@planning"))
    assert TOKENS.decode(sample.completion_ids) == "edit 1" and sample.completion_ids[-1] == TOKENS.end_id
    assert len(sample.logprobs) == len(sample.completion_ids) and sample.finish == "stop"


def test_an_answer_that_is_too_long_is_cut_and_says_so() -> None:
    [sample] = _sample({"who?": "edit 1"}, _request("teacher@planning", limit=2))
    assert len(sample.completion_ids) == 2 and sample.finish == "length"


@pytest.mark.parametrize(("said", "yes"), [("Yes, because it is.", True), ("**yes**", True), ("No.", False), ("yesterday", False)])
def test_a_judgement_is_one_token_and_certain(said: str, yes: bool) -> None:
    [sample] = _sample({"who?": said}, _request("teacher@review", choices=(TOKENS.yes_id, TOKENS.no_id), limit=1))
    assert sample.completion_ids == ((TOKENS.yes_id if yes else TOKENS.no_id),)
    assert (sample.choice_logprobs[0] > sample.choice_logprobs[1]) is yes


def test_other_models_answer_for_themselves_and_a_silent_teacher_is_the_infrastructures_fault() -> None:
    assert _sample({}, _request("planning@r1-ab"))[0].completion_ids == (1, 2)
    with pytest.raises(EndpointError, match="say nothing"):
        _sample({}, _request("teacher@planning"))
