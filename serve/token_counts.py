"""Tokens of every answer of vLLM's engine, whichever route asked for it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

from serve.seam import Tokens

NONE = "none"
"""The adapter of an answer that a base gave alone."""
Generate = Callable[..., AsyncGenerator[Any, None]]
"""`AsyncLLM.generate`: (prompt, sampling parameters, request id, …) → vLLM's `RequestOutput`s."""


def counted(generate: Generate, base: str, tokens: Tokens) -> Generate:
    """The same generator function, each of whose answers is told when it ends; those without an adapter are the base's."""

    async def told(prompt: Any, sampling_params: Any, request_id: str, **more: Any) -> AsyncGenerator[Any, None]:
        parts = _in_parts(sampling_params)
        written: dict[int, int] = {}
        last = None
        # Closed with this one, so that vLLM ends a request that nobody waits for any more.
        async with contextlib.aclosing(generate(prompt, sampling_params, request_id, **more)) as outputs:
            try:
                async for output in outputs:
                    last = output
                    for choice in output.outputs:
                        written[choice.index] = len(choice.token_ids) + (written.get(choice.index, 0) if parts else 0)
                    yield output
            finally:
                if last is not None:
                    model = last.lora_request.lora_name if last.lora_request else base
                    prompt_tokens = len(last.prompt_token_ids or ())
                    tokens(model, prompt=prompt_tokens, cached=last.num_cached_tokens or 0, written=sum(written.values()))

    return told


def tags_of(model: str) -> dict[str, str]:
    """Stage and adapter of an exact model id, as metrics show them; of a base its own name, and no adapter."""
    stage, _, version = model.partition("@")
    return {"stage": stage, "adapter": version or NONE}


def _in_parts(sampling_params: Any) -> bool:
    """Whether an output holds the tokens since the one before (vLLM's `RequestOutputKind.DELTA`), and not all of them."""
    return bool(getattr(getattr(sampling_params, "output_kind", None), "name", "") == "DELTA")
