"""The agent as the chat model `forge-agent`: an issue in, stages and a diff out, for any OpenAI client."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from serve.answers import RefusalError
from serve.questions import Call, Questions

MODEL = "forge-agent"


async def chat(questions: Questions, request: Request) -> Response:
    """The last message of the user is the issue; its first line may be `repository: ADDRESS`."""
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
    first, _, rest = text.partition("\n")
    repository = str(body.get("repository", ""))
    if not repository and first.lower().startswith("repository:"):
        repository, text = first.partition(":")[2].strip(), rest
    return Call(issue=text.strip(), repository=repository, archive=str(body.get("archive", "")), samples=int(body.get("n") or 1))


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
