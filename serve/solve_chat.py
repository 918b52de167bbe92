"""The agent as the chat model `forge-agent`: an issue in, stages and a diff out, for any OpenAI client."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from serve.answers import RefusalError
from serve.questions import Call, Questions

MODEL = "forge-agent"
HEADING = re.compile(r"(repository|environment):(.*)(?:\n|\Z)", re.IGNORECASE)
VALUES = {"environment": ("none", "auto")}
"""Headings with other values are the issue's own: many a report names its environment first."""


async def chat(questions: Questions, request: Request) -> Response:
    """The last message of the user is the issue; `repository: ADDRESS` and `environment: auto` may stand before it, a line each.

    Both may be fields of the body instead.
    """
    try:
        body = await request.json()
        call = _call_of(body)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RefusalError(HTTPStatus.BAD_REQUEST, f"not a chat for {MODEL}: {error}", "invalid_request", param="messages") from error
    name = await questions.ask(call, request.state.owner, request.headers.get("idempotency-key", "")[:200])
    head = {"id": f"chatcmpl-{name}", "created": int(time.time()), "model": MODEL}
    if body.get("stream"):
        return StreamingResponse(_chunks(questions, name, head), media_type="text/event-stream")
    result = await questions.result(name)
    message = {"role": "assistant", "content": _written(result)}
    usage = {"prompt_tokens": 0, "completion_tokens": result.get("tokens", 0), "total_tokens": result.get("tokens", 0)}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": usage, "forge": result})


def _call_of(body: dict[str, Any]) -> Call:
    said = next(message["content"] for message in reversed(body["messages"]) if message["role"] == "user")
    text = said if isinstance(said, str) else "\n".join(part["text"] for part in said if part["type"] == "text")
    given = {name: str(body[name]) for name in ("repository", "environment", "archive") if body.get(name)}
    while (line := HEADING.match(text)) and (name := line[1].lower()) not in given:
        value = line[2].strip()
        if value not in VALUES.get(name, (value,)):
            break
        given[name], text = value, text[line.end() :]
    return Call.model_validate({"issue": text.strip(), "samples": int(body.get("n") or 1), **given})


async def _chunks(questions: Questions, name: str, head: dict[str, Any]) -> AsyncIterator[str]:
    def chunk(delta: dict[str, str], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"

    yield chunk({"role": "assistant", "content": ""})
    async for event in questions.follow(name):
        if event is None:
            yield ": still here\n\n"
        elif event["kind"] == "done":
            yield chunk({"content": "\n" + _written(event)})
        else:
            yield chunk({"content": f"{event.get('stage') or event['kind']}: {event['text']}\n"})
    yield chunk({}, "stop")
    yield "data: [DONE]\n\n"


def _written(result: dict[str, Any]) -> str:
    if not result.get("patch"):
        return f"No patch: {result.get('reason') or result.get('status')}"
    return f"```diff\n{result['patch'].rstrip()}\n```\n\nReview: {result.get('score', 0.0):.0%}"
