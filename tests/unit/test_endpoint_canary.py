from __future__ import annotations

import asyncio

import pytest

from forge.endpoint.canary import PROBED_TOKENS, Probe, check, probes_of
from forge.errors import EndpointError
from forge.fakes.chat_model import FakeChatModel
from forge.seams import Sample, SampleRequest

PROBES = [
    Probe(prompt_ids=(1, 2), token_ids=(7, 8), logprobs=(-0.10, -2.40)),
    Probe(prompt_ids=(3,), token_ids=(7, 8), logprobs=(-1.00, -0.50)),
]


def server_off_by(difference: float) -> FakeChatModel:
    trained = {probe.prompt_ids: probe.logprobs for probe in PROBES}

    def answer(request: SampleRequest) -> Sample:
        first, second = trained[request.prompt_ids]
        served = (first, second + (difference if request.prompt_ids == (3,) else 0.0))
        return Sample(completion_ids=request.choices[:1], logprobs=(first,), choice_logprobs=served, finish="length")

    return FakeChatModel(answer, known={"review@r1-aa"})


def test_the_same_logprobs_pass() -> None:
    report = asyncio.run(check(server_off_by(0.0), "review@r1-aa", PROBES))
    assert report.passed and report.worst == 0.0 and report.probes == 2


def test_a_difference_beyond_the_tolerance_fails_and_says_where() -> None:
    report = asyncio.run(check(server_off_by(-0.25), "review@r1-aa", PROBES))
    assert not report.passed and report.worst == pytest.approx(0.25) and report.worst_probe == 1


def test_a_difference_within_the_tolerance_passes() -> None:
    assert asyncio.run(check(server_off_by(0.05), "review@r1-aa", PROBES, tolerance=0.1)).passed


def test_a_version_that_is_not_loaded_is_an_error_and_not_a_failure() -> None:
    with pytest.raises(EndpointError, match="no model 'review@r2-bb'"):
        asyncio.run(check(server_off_by(0.0), "review@r2-bb", PROBES))


def test_no_probes_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        asyncio.run(check(server_off_by(0.0), "review@r1-aa", []))


def test_an_answer_becomes_one_probe_a_token_given_those_before_it() -> None:
    probes = probes_of((5, 6), (7, 8), (-0.1, -0.2))
    assert [(p.prompt_ids, p.token_ids, p.logprobs) for p in probes] == [((5, 6), (7,), (-0.1,)), ((5, 6, 7), (8,), (-0.2,))]


def test_of_a_long_answer_only_the_beginning_is_probed() -> None:
    assert len(probes_of((1,), range(50), [0.0] * 50)) == PROBED_TOKENS
