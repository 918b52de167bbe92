"""The staged agent over HTTP: a question in, what happens as server-sent events, a unified diff at the end.

    POST   /                     ask; the answer streams, or with "stream": false comes as one JSON object
    GET    /{id}                 how it stands                GET /{id}/events?after=N    what happened from then on
    DELETE /{id}                 stop it
    POST   /v1/chat/completions  the same as the chat model `forge-agent`

An `Idempotency-Key` that was seen before leads to the same question.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from forge.config import ServeConfig
from serve.answers import Receive, RefusalError, Scope, Send, replayed, send_json, whole_body
from serve.gate import Gate
from serve.questions import Call, Questions
from serve.solve_chat import chat

UPLOADS = 4
"""An archive may take so many times as long to send as another request."""


class SolveApp:
    """The ASGI app: `gate` decides who may ask."""

    def __init__(self, questions: Questions, gate: Gate, config: ServeConfig) -> None:
        self._questions, self._gate, self._config = questions, gate, config
        self.app = _routes(questions)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == scope.get("root_path", ""):
            scope = {**scope, "path": f"{scope['path']}/"}
        try:
            owner = self._gate.allow(scope, "solve")
            body = await whole_body(receive, self._config.max_archive_bytes, UPLOADS * self._config.read_s)
            await self.app({**scope, "state": {**scope.get("state", {}), "owner": owner}}, replayed(body, receive), send)
        except RefusalError as refusal:
            await send_json(send, refusal.body, refusal.status, refusal.headers)


def _routes(questions: Questions) -> FastAPI:
    app = FastAPI(title="forge: the agent", docs_url=None, redoc_url=None)

    @app.exception_handler(RefusalError)
    async def refused(_: Request, refusal: RefusalError) -> JSONResponse:
        return JSONResponse(refusal.body, int(refusal.status), refusal.headers)

    @app.exception_handler(StarletteHTTPException)
    async def plain(_: Request, error: StarletteHTTPException) -> JSONResponse:
        refusal = RefusalError(HTTPStatus(error.status_code), str(error.detail))
        return JSONResponse(refusal.body, error.status_code, dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the body"
        refusal = RefusalError(HTTPStatus.BAD_REQUEST, f"{where}: {first['msg']}", "invalid_request", param=where)
        return JSONResponse(refusal.body, 400)

    @app.post("/")
    async def ask(call: Call, request: Request) -> Response:
        name = await questions.ask(call, request.state.owner, request.headers.get("idempotency-key", "")[:200])
        if not call.stream:
            return JSONResponse(await questions.result(name))
        return StreamingResponse(_told(questions, name, 0), media_type="text/event-stream", headers={"x-solve-id": name})

    @app.get("/{name}")
    async def stands(name: str) -> dict[str, Any]:
        _known(questions, name)
        done = questions.solves.done(name)
        return {"id": name, **(done or {"status": "working"}), "events": len(questions.solves.events(name))}

    @app.get("/{name}/events")
    async def events(name: str, request: Request, after: int = 0) -> Response:
        _known(questions, name)
        last = request.headers.get("last-event-id", "")
        begin = int(last) if last.isascii() and last.isdigit() and len(last) < 10 else max(0, after)
        return StreamingResponse(_told(questions, name, begin), media_type="text/event-stream")

    @app.delete("/{name}")
    async def stop(name: str) -> dict[str, Any]:
        _known(questions, name)
        questions.cancel(name)
        return {"id": name, "status": "cancelling" if questions.solves.done(name) is None else "ended"}

    @app.post("/v1/chat/completions")
    async def chats(request: Request) -> Response:
        return await chat(questions, request)

    return app


def _known(questions: Questions, name: str) -> None:
    if not name.isalnum() or questions.solves.request(name) is None:
        raise RefusalError(HTTPStatus.NOT_FOUND, f"there is no question {name[:100]}", "not_found")


async def _told(questions: Questions, name: str, after: int) -> AsyncIterator[str]:
    """Server-sent events: `progress` with a number each, and `done` with the result."""
    yield f"event: accepted\ndata: {json.dumps({'id': name})}\n\n"
    async for event in questions.follow(name, after):
        if event is None:
            yield ": still here\n\n"
        elif event["kind"] == "done":
            yield f"event: done\ndata: {json.dumps(event)}\n\n"
        else:
            yield f"id: {event['n']}\nevent: progress\ndata: {json.dumps(event)}\n\n"
