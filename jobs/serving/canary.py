"""Before adapters are evaluated: does the endpoint answer with the weights that training saved?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from forge.config import ForgeConfig
from forge.endpoint import canary
from forge.endpoint.client import EndpointModel
from forge.errors import EndpointError
from forge.records import AdapterRef
from forge.training.artefact import read_canaries
from jobs.serving.catalogue import base_of
from jobs.serving.llama_files import bits_of
from jobs.wiring import base_folder, own_key
from serve.pick import pick


def check_adapters(config: ForgeConfig, urls: Mapping[str, str], refs: Sequence[AdapterRef]) -> float:
    """The largest difference in nats over all of `refs`; raises `EndpointError` when one answers unlike it was trained."""
    return asyncio.run(_check(config, urls, refs))


def tolerance_of(config: ForgeConfig, ref: AdapterRef) -> float:
    """The largest difference in nats that is rounding, by what serves the adapter's base."""
    on_card = canary.TOLERANCE_BFLOAT16 if config.serve.gpus > 0 else 0.0
    if pick(config.serve) == "vllm":
        if config.bases[base_of(config, ref)].served_weights:
            return canary.TOLERANCE_AWQ
        return on_card or canary.TOLERANCE_FLOAT32
    base = config.bases[base_of(config, ref)]
    return max(on_card, canary.TOLERANCE_GGUF[bits_of(config, base, base_folder(base))])


async def _check(config: ForgeConfig, urls: Mapping[str, str], refs: Sequence[AdapterRef]) -> float:
    model = EndpointModel(urls, stages=config.base_of_adapters(), api_key=own_key(config))
    worst = 0.0
    try:
        for ref in refs:
            tolerance = tolerance_of(config, ref)
            saved = read_canaries(Path(ref.path))
            probes = [probe for c in saved for probe in canary.probes_of(c.prompt_ids, c.completion_ids, c.logprobs)]
            report = await canary.check(model, ref.model_id, probes, tolerance=tolerance)
            if not report.passed:
                raise EndpointError(
                    f"the endpoint answers for {ref.model_id} unlike what was trained: logprobs differ by {report.worst:.3f} nats, "
                    f"at most {tolerance} is rounding; nothing was evaluated with it. End the endpoint and run the same command again"
                )
            worst = max(worst, report.worst)
    finally:
        await model.close()
    return worst
