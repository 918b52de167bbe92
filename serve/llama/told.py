"""Completions in the shapes of OpenAI's API, with the fields that vLLM adds."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from serve.llama.asked import Plan
from serve.llama.sampled import Completion, Place, Token

DONE = b"data: [DONE]\n\n"


class Head(NamedTuple):
    """What every part of an answer has in common."""

    id: str
    model: str
    chat: bool

    def whole(self, choices: Sequence[dict[str, Any]], usage: dict[str, Any]) -> dict[str, Any]:
        """A whole answer."""
        return self._body("chat.completion" if self.chat else "text_completion", choices) | {"usage": usage}

    def chunk(self, choices: Sequence[dict[str, Any]], usage: dict[str, Any] | None = None) -> dict[str, Any]:
        """A part of a stream."""
        body = self._body("chat.completion.chunk" if self.chat else "text_completion", choices)
        return body if usage is None else body | {"usage": usage}

    def _body(self, kind: str, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": int(time.time()), "model": self.model, "choices": list(choices)}


def usage(prompt_tokens: int, completion_tokens: int, cached: int) -> dict[str, Any]:
    """What was computed."""
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def chat_choice(index: int, found: Completion, plan: Plan, content: str | None, calls: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A choice of a whole chat answer."""
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None, "reasoning": None}
    if calls:
        message["tool_calls"] = list(calls)
    return {
        "index": index,
        "message": message,
        "logprobs": chat_logprobs(found.places, plan),
        "finish_reason": finish_of(found, calls),
        "stop_reason": found.stop,
        "token_ids": list(found.ids) if plan.ids else None,
    }


def text_choice(index: int, found: Completion, plan: Plan, prompt: Sequence[int]) -> dict[str, Any]:
    """A choice of a whole completion."""
    return {
        "index": index,
        "text": found.text,
        "logprobs": text_logprobs(found.places, plan),
        "finish_reason": found.finish,
        "stop_reason": found.stop,
        "token_ids": list(found.ids) if plan.ids else None,
        "prompt_logprobs": None,
        "prompt_token_ids": list(prompt) if plan.ids else None,
    }


def chat_part(index: int, delta: dict[str, Any], finish: str | None = None, stop: str | None = None) -> dict[str, Any]:
    """A choice of a part of a chat stream."""
    part: dict[str, Any] = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    return part if finish is None else part | {"stop_reason": stop}


def text_part(index: int, text: str, finish: str | None = None, stop: str | None = None) -> dict[str, Any]:
    """A choice of a part of a stream of plain text."""
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish, "stop_reason": stop}


def finish_of(found: Completion, calls: Sequence[dict[str, Any]]) -> str:
    """Why a chat answer ended."""
    return "tool_calls" if calls and found.finish == "stop" else found.finish


def chat_logprobs(places: Sequence[Place], plan: Plan) -> dict[str, Any] | None:
    """Logprobs as chats have them."""
    if plan.top is None:
        return None
    return {"content": [_entry(p.token, plan) | {"top_logprobs": [_entry(one, plan) for one in p.best[: plan.top]]} for p in places]}


def text_logprobs(places: Sequence[Place], plan: Plan) -> dict[str, Any] | None:
    """Logprobs as plain completions have them. The token that was drawn is among the best ones in any case."""
    if plan.top is None:
        return None
    tokens = [_name(place.token, plan) for place in places]
    offsets, at = [], 0
    for token in tokens:
        offsets.append(at)
        at += len(token)
    best = [{_name(one, plan): one.logprob for one in (place.token, *place.best[: plan.top])} for place in places]
    return {"text_offset": offsets, "token_logprobs": [p.token.logprob for p in places], "tokens": tokens, "top_logprobs": best}


def event(body: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def _entry(token: Token, plan: Plan) -> dict[str, Any]:
    return {"token": _name(token, plan), "logprob": token.logprob, "bytes": list(token.bytes)}


def _name(token: Token, plan: Plan) -> str:
    return f"token_id:{token.id}" if plan.named_by_id else token.text
