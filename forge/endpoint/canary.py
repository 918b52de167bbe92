"""The canary: does the endpoint answer with the weights that were trained?

An adapter that was loaded from a wrong folder, cut short, scaled wrongly or mixed up with another still answers
fluently. So before a version takes traffic its logprobs are compared with the training side's for fixed prompts.
It does not protect against an adapter that is bad in both places.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from forge.records import Record
from forge.seams import ChatModel, SampleRequest

TOLERANCE_FLOAT32 = 2e-3
"""Largest difference in nats when both sides compute in float32. Measured between vLLM's CPU build and
transformers with PEFT on a random base: below 1e-4; another adapter's logprobs differ by more than 0.1."""

TOLERANCE_BFLOAT16 = 0.15
"""The same when the endpoint computes in bfloat16, whose products keep 8 bits."""

TOLERANCE_AWQ = 2.5
"""The same for a base that is served from weights of 4 bits and was trained from its own. Not measured: it is llama.cpp's for 4 bits."""

TOLERANCE_GGUF = {"f32": TOLERANCE_FLOAT32, "f16": 0.05, "q8_0": 0.6, "q4_k_m": 2.5}
"""The same for llama.cpp on processors, by the form of the base's weights. Measured on the nano base with six adapters of random
weights: 2e-5, 0.016, 0.30 and 1.3 at worst, 4e-6, 9e-4, 0.016 and 0.08 on average; another adapter's worst is 0.3 to 0.6 where adapters
change little, above 2 where they change as much as training does. So with 8 or 4 bits the canary finds what is broken, such as a
file cut short or scaled wrongly, and not every adapter that was mixed up with one like it."""


class Probe(Record):
    """A prompt, some token ids that may follow it, and their logprobs (nats) on the training side."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


PROBED_TOKENS = 8
"""Tokens of an answer that are probed: a wrong adapter shows within the first few."""


class CanaryReport(Record):
    """What the comparison found; `worst` is the largest difference in nats over all tokens of all probes."""

    model_id: str
    passed: bool
    worst: float
    worst_probe: int
    probes: int


def probes_of(prompt_ids: Sequence[int], completion_ids: Sequence[int], logprobs: Sequence[float]) -> list[Probe]:
    """One probe for each of the answer's first tokens, given those before it."""
    answer = list(zip(completion_ids, logprobs, strict=True))[:PROBED_TOKENS]
    return [
        Probe(prompt_ids=(*prompt_ids, *completion_ids[:place]), token_ids=(token,), logprobs=(value,))
        for place, (token, value) in enumerate(answer)
    ]


async def check(model: ChatModel, model_id: str, probes: Sequence[Probe], *, tolerance: float = TOLERANCE_FLOAT32) -> CanaryReport:
    """How far `model_id` on the endpoint is from the training side. Raises `EndpointError` as `ChatModel` does."""
    if not probes:
        raise ValueError("a canary without probes would pass anything; give at least one")
    differences = await asyncio.gather(*(_difference(model, model_id, probe) for probe in probes))
    worst = max(differences)
    return CanaryReport(model_id=model_id, passed=worst <= tolerance, worst=worst, worst_probe=differences.index(worst), probes=len(probes))


async def _difference(model: ChatModel, model_id: str, probe: Probe) -> float:
    request = SampleRequest(model_id=model_id, prompt_ids=probe.prompt_ids, max_tokens=1, choices=probe.token_ids)
    (sample,) = await model.sample([request])
    pairs = zip(sample.choice_logprobs, probe.logprobs, strict=True)
    return max(abs(served - trained) for served, trained in pairs)
