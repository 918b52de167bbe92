"""A base served from AWQ weights in vLLM's own CPU kernels, with adapters that were trained beside the unquantised one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from forge.config import BaseModelConfig
from forge.endpoint.canary import TOLERANCE_AWQ
from forge.endpoint.client import EndpointModel
from forge.errors import EnvironmentLackError
from forge.seams import Sample, SampleRequest
from serve import app
from tests.vllm.conftest import Served
from tests.vllm.test_serving import PROMPTS, asked, logprobs_after
from tests.vllm.tiny_models import in_4_bits, make_awq

NAME = "quantised"
FLOAT16 = 0.05
"""Nats between float16 beside 4 bits, and the same numbers in float32."""


@pytest.fixture(scope="module")
def quantised(served: Served) -> Iterator[Served]:
    """A second base on the same Ray: the first one's AWQ weights, with its adapters."""
    awq = make_awq(served.folder / "awq", served.base)
    bases = {**served.config.bases, NAME: BaseModelConfig(model=str(served.base), served_weights=str(awq))}
    config = served.config.model_copy(update={"bases": bases})
    if not torch.cpu._is_avx512_supported():
        with pytest.raises(EnvironmentLackError, match="on CPUs with AVX-512 alone"):
            app.deploy(config, {NAME: served.base}, {NAME: served.adapters})
        pytest.xfail("vLLM's kernel for AWQ weights takes a CPU with AVX-512, and that was said")
    url = app.deploy(config, {NAME: served.base}, {NAME: served.adapters}).urls[NAME]
    yield Served(config, url, served.folder, served.base, served.adapters)
    app.shutdown({NAME: served.base})


def test_answers_from_awq_weights_are_those_of_the_numbers_they_stand_for(quantised: Served) -> None:
    names = [NAME, *quantised.adapters]
    requests = [asked(quantised, name, text) for text in PROMPTS for name in names]

    async def sampled() -> list[Sample]:
        model = EndpointModel({NAME: quantised.url}, stages={name.partition("@")[0]: NAME for name in quantised.adapters})
        try:
            answers = await asyncio.gather(*(model.sample([request]) for request in requests))
        finally:
            await model.close()
        return [answer[0] for answer in answers]

    samples = asyncio.run(sampled())
    for name in names:
        off, plain_off = [], []
        for request, sample in zip(requests, samples, strict=True):
            if request.model_id == name:
                off += apart(reference(quantised, name, awq=True), request, sample)
                plain_off += apart(reference(quantised, name, awq=False), request, sample)
        assert max(off) < FLOAT16 < max(plain_off) < TOLERANCE_AWQ, (name, max(off), max(plain_off))


def apart(model: torch.nn.Module, request: SampleRequest, sample: Sample) -> list[float]:
    """Nats between the endpoint's and the model's logprobs of the same tokens."""
    rows = logprobs_after(model, request.prompt_ids, sample.completion_ids)
    theirs = [float(row[token]) for row, token in zip(rows, sample.completion_ids, strict=False)]
    return [abs(own - other) for own, other in zip(sample.logprobs, theirs, strict=True)]


def reference(served: Served, name: str, *, awq: bool) -> torch.nn.Module:
    model = in_4_bits(served.base) if awq else AutoModelForCausalLM.from_pretrained(served.base, dtype=torch.float32)
    return model.eval() if name == NAME else PeftModel.from_pretrained(model, served.adapters[name]).eval()
