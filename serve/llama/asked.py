"""A request in OpenAI's words, with vLLM's additions, as llama-server wants it. What cannot be given as vLLM gives it is refused.

Differences that stay: a seed draws other tokens than vLLM's does, and `ignore_eos` keeps the end token from being drawn at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from serve.answers import RefusalError
from serve.llama.material import Facts

SAMPLERS = ("penalties", "temperature", "top_k", "top_p", "min_p")
"""In vLLM's order: temperature first, then what is cut off."""
CACHED = "timings/cache_n"
"""Tokens of the prompt that a place held already."""
FIELDS = ("content", "tokens", "completion_probabilities", "stop", "stop_type", "stopping_word", "tokens_predicted", CACHED)
"""Of llama-server's answer what is used; without a choice it repeats the prompt and every setting."""
MOST_TOP = 20
"""As vLLM's `max_logprobs`."""

WHOLE = 2**16
"""Tokens that a penalty of repetition looks back: more than any sequence here."""

REFUSED: Mapping[str, tuple[object, ...]] = {
    "presence_penalty": (None, 0, 0.0),
    "frequency_penalty": (None, 0, 0.0),
    "prompt_logprobs": (None,),
    "echo": (None, False),
    "suffix": (None, ""),
    "use_beam_search": (None, False),
    "stop_token_ids": (None, []),
    "bad_words": (None, []),
    "allowed_token_ids": (None,),
    "include_stop_str_in_output": (None, False),
    "skip_special_tokens": (None, True),
    "continue_final_message": (None, False),
    "chat_template": (None,),
    "documents": (None, []),
    "truncate_prompt_tokens": (None,),
    "logits_processors": (None, []),
}
"""Fields that llama-server has no counterpart of, or another one (its penalties count the prompt's tokens), and values that ask for
nothing."""


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="allow")
    include_usage: bool | None = False


class Call(BaseModel):
    """What both kinds of request have. Fields that are not named here are ignored, as vLLM does, or refused by name."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    min_tokens: int = Field(0, ge=0)
    n: int | None = Field(1, ge=1)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0.0)
    top_p: float | None = Field(None, gt=0.0, le=1.0)
    top_k: int | None = Field(None, ge=-1)
    min_p: float | None = Field(None, ge=0.0, le=1.0)
    repetition_penalty: float | None = Field(None, gt=0.0)
    logit_bias: dict[str, float] | None = None
    ignore_eos: bool = False
    response_format: dict[str, Any] | None = None
    structured_outputs: dict[str, Any] | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None


class ChatCall(Call):
    """`POST /v1/chat/completions`."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = False
    top_logprobs: int | None = Field(0, ge=0, le=MOST_TOP)
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool = True


class TextCall(Call):
    """`POST /v1/completions`."""

    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: int | None = Field(None, ge=0, le=MOST_TOP)


class Plan(NamedTuple):
    """How a request is answered: llama-server's settings, and how many of the best tokens are told at each place (`None`: no logprobs)."""

    settings: dict[str, Any]
    top: int | None
    choices: int
    stream: bool
    usage: bool
    ids: bool
    named_by_id: bool


def refuse_unknown(call: BaseModel) -> None:
    """Raise `RefusalError` for a field that asks for what is not to be had here."""
    for name, value in (call.model_extra or {}).items():
        if name in REFUSED and not any(value == harmless and type(value) is type(harmless) for harmless in REFUSED[name]):
            raise refusal(f"{name} is not to be had from llama.cpp as vLLM gives it; leave it out, or serve with vLLM", name)


def plan(call: ChatCall | TextCall, facts: Facts, longest: int, schema: Mapping[str, Any] | None = None) -> Plan:
    """The plan of a request that may generate `longest` tokens; `schema` is what tools make of the answer. Raises `RefusalError`."""
    refuse_unknown(call)
    if isinstance(call, ChatCall):
        wanted = call.max_completion_tokens or call.max_tokens or longest
        top = (call.top_logprobs or 0) if call.logprobs else None
    else:
        wanted, top = call.max_tokens or 16, call.logprobs
    if wanted > longest:
        raise refusal(f"{wanted} tokens are asked for; prompt and context length leave room for {longest}", "max_tokens")
    settings = sampling(call, facts) | {"n_predict": wanted, "return_tokens": True, "response_fields": list(FIELDS)}
    settings |= ending(call, wanted) | constraint(call, schema)
    if top is not None:
        settings["n_probs"] = max(1, top)
    usage = bool(call.stream_options and call.stream_options.include_usage)
    return Plan(settings, top, call.n or 1, bool(call.stream), usage, bool(call.return_token_ids), bool(call.return_tokens_as_token_ids))


def sampling(call: Call, facts: Facts) -> dict[str, Any]:
    """How tokens are drawn; what the request does not say is as the base's makers advise, else as OpenAI has it."""

    def chosen(name: str, otherwise: float) -> float:
        said = getattr(call, name)
        return float(facts.defaults.get(name, otherwise) if said is None else said)

    settings: dict[str, Any] = {
        "samplers": list(SAMPLERS),
        "temperature": chosen("temperature", 1.0),
        "top_p": chosen("top_p", 1.0),
        "top_k": max(0, int(chosen("top_k", 0))),
        "min_p": chosen("min_p", 0.0),
    }
    if (penalty := chosen("repetition_penalty", 1.0)) != 1.0:
        settings |= {"repeat_penalty": penalty, "repeat_last_n": WHOLE}
    if call.seed is not None:
        settings["seed"] = call.seed % 2**32
    if call.logit_bias:
        settings["logit_bias"] = [[_token(name), bias] for name, bias in call.logit_bias.items()]
    return settings


def drawn(temperature: float, seed: int | None) -> dict[str, Any]:
    """Settings that draw from the model's own distribution at a temperature, and leave no token out."""
    bare = {"samplers": ["temperature"], "temperature": temperature, "return_tokens": True, "response_fields": list(FIELDS)}
    return bare if seed is None else bare | {"seed": seed % 2**32}


def ending(call: Call, longest: int) -> dict[str, Any]:
    """When an answer ends."""
    stops = [call.stop] if isinstance(call.stop, str) else (call.stop or [])
    if 0 < call.min_tokens < longest:
        told = f"min_tokens={call.min_tokens} is below max_tokens={longest}; llama.cpp gives exactly max_tokens, or any length"
        raise refusal(told, "min_tokens")
    if call.min_tokens > longest:
        raise refusal(f"min_tokens={call.min_tokens} is above max_tokens={longest}", "min_tokens")
    endless = call.ignore_eos or call.min_tokens == longest
    return ({"stop": [stop for stop in stops if stop]} if stops else {}) | ({"ignore_eos": True} if endless else {})


def constraint(call: Call, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What an answer must be like."""
    form, structured = call.response_format or {}, {k: v for k, v in (call.structured_outputs or {}).items() if v is not None}
    kind = form.get("type", "text")
    if kind == "json_object":
        structured.setdefault("json_object", True)
    elif kind == "json_schema":
        structured.setdefault("json", (form.get("json_schema") or {}).get("schema"))
    elif kind != "text":
        raise refusal(f"there is no response_format {kind!r} with llama.cpp: text, json_object and json_schema are", "response_format")
    if schema is not None:
        structured["json"] = dict(schema)
    for name, value in structured.items():
        if name == "json":
            return {"json_schema": _schema(value)}
        if name == "json_object" and value:
            return {"json_schema": {"type": "object"}}
        if name == "choice":
            return {"grammar": one_of(value)}
        if name == "grammar":
            return {"grammar": value}
        if name in ("regex", "structural_tag"):
            raise refusal(f"there is no {name} with llama.cpp; there are json, choice and grammar", "structured_outputs")
    return {}


def one_of(choices: object) -> str:
    """A grammar (GBNF) of exactly these texts."""
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, str) and choice for choice in choices):
        raise refusal("structured_outputs.choice is a list of texts", "structured_outputs")
    return "root ::= " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)


def prompts_of(call: TextCall) -> Sequence[str | list[int]]:
    """The prompts of a completion, texts or token ids."""
    prompt = call.prompt
    if isinstance(prompt, str):
        return [prompt]
    if all(isinstance(one, int) for one in prompt) and prompt:
        return [[one for one in prompt if isinstance(one, int)]]
    return [one for one in prompt if not isinstance(one, int)]


def turns_of(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages as chat templates take them: parts of text as one text, arguments of tool calls as values."""
    turns = []
    for message in messages:
        turn = {key: value for key, value in message.items() if value is not None}
        content = turn.get("content")
        if isinstance(content, list):
            if any(not isinstance(part, dict) or part.get("type", "text") not in ("text", "input_text") for part in content):
                raise refusal("messages may have parts of text only; this base sees no images and hears no sound", "messages")
            turn["content"] = "\n".join(str(part.get("text", "")) for part in content)
        if "role" not in turn:
            raise refusal("a message without a role", "messages")
        if "tool_calls" not in turn:
            turn.setdefault("content", "")
        for one in turn.get("tool_calls") or []:
            function = one.get("function") if isinstance(one, dict) else None
            if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                try:
                    function["arguments"] = json.loads(function["arguments"] or "{}")
                except ValueError as error:
                    raise refusal(f"the arguments of a tool call are no JSON: {error}", "messages") from error
        turns.append(turn)
    return turns


def refusal(message: str, param: str | None = None) -> RefusalError:
    """A request that is at fault."""
    return RefusalError(HTTPStatus.BAD_REQUEST, message, param=param)


def _schema(value: object) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise refusal(f"the JSON schema is no JSON: {error}", "structured_outputs") from error
    if not isinstance(value, dict):
        raise refusal("a JSON schema is an object", "structured_outputs")
    return value


def _token(name: str) -> int:
    try:
        return int(name)
    except ValueError as error:
        raise refusal(f"logit_bias is by token id, and {name!r} is none", "logit_bias") from error
