"""`POST /forge/sample`: several token-id prompts in, token ids and logprobs out, straight from the engine.

Body: `{"model", "prompts": [[id, ...], ...], "max_tokens", "temperature", "seeds": [int, ...], "choices": [id, ...],
"grammar": "root ::= …"}`; answer: `{"samples": [{"ids", "logprobs", "choices", "finish"}, ...]}` in order. Beside OpenAI's completions
it has a seed for each prompt and exact logprobs of the choices, and no text is made. Logprobs are the model's own, in nats,
before temperature and before the restriction to choices; vLLM masks what a grammar forbids before it makes logprobs, so under
one they are those among the tokens that it left.
"""

from __future__ import annotations

import asyncio
import uuid
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.exceptions import VLLMClientError
from vllm.inputs import tokens_input
from vllm.lora.request import LoRARequest
from vllm.outputs import CompletionOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError


class Call(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a call."""

    model: str
    prompts: list[list[int]]
    max_tokens: int
    temperature: float = 0.0
    seeds: list[int] = []
    choices: list[int] = []
    grammar: str = ""


class Answered(msgspec.Struct):
    """One prompt's completion, the end token included; `choices` are logprobs at its first token."""

    ids: list[int]
    logprobs: list[float]
    choices: list[float]
    finish: str


class Answer(msgspec.Struct):
    samples: list[Answered]


def add_sample_route(app: FastAPI, engine: AsyncLLM, models: OpenAIServingModels) -> None:
    """Give `app` the route."""

    @app.post("/forge/sample")
    async def sample(request: Request) -> Response:
        try:
            call = msgspec.json.decode(await request.body(), type=Call)
        except msgspec.MsgspecError as error:
            return _error(HTTPStatus.BAD_REQUEST, f"the body is not a sample call: {error}")
        lora = models.lora_requests.get(call.model)
        if lora is None and not models.is_base_model(call.model):
            known = [*(path.name for path in models.base_model_paths), *models.lora_requests]
            return _error(HTTPStatus.NOT_FOUND, f"there is no model '{call.model}'; known are {', '.join(known)}")
        if engine.errored:
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, "the engine is dead; this replica is about to exit")
        if call.seeds and len(call.seeds) != len(call.prompts):
            return _error(HTTPStatus.BAD_REQUEST, f"{len(call.prompts)} prompts with {len(call.seeds)} seeds; give one for each or none")
        try:
            samples = await _all(engine, call, lora)
        except (VLLMClientError, ValueError) as error:
            return _error(HTTPStatus.BAD_REQUEST, str(error))
        except (EngineDeadError, EngineGenerateError) as error:
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR, f"the engine failed under this call: {error}")
        return Response(msgspec.json.encode(Answer(samples)), media_type="application/json")


async def _all(engine: AsyncLLM, call: Call, lora: LoRARequest | None) -> list[Answered]:
    """All prompts' answers, in order; the first failure ends the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_one(engine, call, index, lora)) for index in range(len(call.prompts))]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [task.result() for task in tasks]


async def _one(engine: AsyncLLM, call: Call, index: int, lora: LoRARequest | None) -> Answered:
    prompt = tokens_input(prompt_token_ids=call.prompts[index])
    params = _params(call, call.seeds[index] if call.seeds else None)
    async for output in engine.generate(prompt, params, uuid.uuid4().hex, lora_request=lora):
        last = output
    return _answered(last.outputs[0], call.choices)


def _params(call: Call, seed: int | None) -> SamplingParams:
    greedy = call.temperature == 0.0
    return SamplingParams(
        max_tokens=call.max_tokens,
        temperature=call.temperature,
        seed=None if greedy else seed,
        logprobs=None if call.choices else 0,
        logprob_token_ids=call.choices or None,
        allowed_token_ids=call.choices or None,
        structured_outputs=StructuredOutputsParams(grammar=call.grammar) if call.grammar else None,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _answered(output: CompletionOutput, choices: list[int]) -> Answered:
    steps: list[dict[int, Any]] = list(output.logprobs or [])
    return Answered(
        ids=list(output.token_ids),
        logprobs=[step[token].logprob for step, token in zip(steps, output.token_ids, strict=True)],
        choices=[steps[0][choice].logprob for choice in choices] if steps else [],
        finish="stop" if output.finish_reason == "stop" else "length",
    )


def _error(status: HTTPStatus, message: str) -> Response:
    """OpenAI's error body."""
    body = {"error": {"message": message, "type": status.phrase.replace(" ", "") + "Error", "param": None, "code": int(status)}}
    return Response(msgspec.json.encode(body), status_code=int(status), media_type="application/json")
