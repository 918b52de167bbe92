"""The staged agent over HTTP: a question in, what happens as server-sent events, a unified diff at the end.

    POST   /                     ask; the answer streams, or with "stream": false comes as one JSON object
    GET    /{id}                 how it stands                GET /{id}/events?after=N    what happened from then on
    DELETE /{id}                 stop it
    POST   /v1/chat/completions  the same as the chat model `forge-agent`

A question runs on whether or not its asker listens; an `Idempotency-Key` that was seen before leads to the same question.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from forge.config import ServeConfig
from forge.errors import ConfigError, ForgeError
from serve import checkouts
from serve.answers import Receive, RefusalError, Scope, Send, replayed, send_json, whole_body
from serve.gate import Gate
from serve.solves import Solves

MODEL = "forge-agent"
WAITING_EACH = 8
"""Questions that may wait for each that is worked on."""
UPLOADS = 4
"""An archive may take so many times as long to send as another request."""
BEAT_S = 15.0
"""A comment goes to listeners at least this often, so that nothing between takes the connection for dead."""


class Agent(Protocol):
    """Who answers; `tell` is given what happens, as plain values. The result is plain values too."""

    async def solve(self, folder: Path, question: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]: ...

    async def close(self) -> None: ...


class Call(BaseModel):
    """A question. One of `repository` and `archive` is where its tree comes from."""

    model_config = ConfigDict(extra="forbid")

    issue: str = Field(min_length=1, max_length=50_000)
    repository: str = Field("", max_length=2_000)
    """A git address or a folder, as far as the configuration allows it."""
    archive: str = ""
    """A tar or tar.gz of the repository, in base64."""
    samples: int = Field(1, ge=1, le=16)
    temperature: float = Field(0.8, gt=0.0, le=2.0)
    seed: int = Field(0, ge=0, le=2**31)
    seconds: float = Field(300.0, gt=0)
    test: str = Field("", max_length=2_000)
    stream: bool = True


class Questions:
    """Questions under way in this process, and in files those of all processes so far."""

    def __init__(self, agent: Agent, solves: Solves, config: ServeConfig) -> None:
        self.solves, self.config = solves, config
        self._agent = agent
        self._places = asyncio.Semaphore(config.solves)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._news: dict[str, asyncio.Event] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    def take_up(self) -> int:
        """Number of questions that a process before this one left unanswered; they are begun again."""
        self.solves.sweep()
        left = list(self.solves.unfinished())
        for solve in left:
            self._tell(solve, {"kind": "note", "text": "taken up again: the replica that worked on it has gone"})
            self._start(solve)
        return len(left)

    async def ask(self, call: Call, owner: str, idempotency: str) -> str:
        """The id of the question; raises `RefusalError` for one that cannot be begun."""
        name = hashlib.sha256(f"{owner}:{idempotency}".encode()).hexdigest()[:20] if idempotency else uuid.uuid4().hex[:20]
        async with self._turns.setdefault(name, asyncio.Lock()):
            try:
                return await self._begun(name, call)
            finally:
                self._turns.pop(name, None)

    async def _begun(self, name: str, call: Call) -> str:
        if self.solves.request(name) is not None:
            return name
        if len(self._tasks) >= self.config.solves * (1 + WAITING_EACH):
            raise RefusalError(
                HTTPStatus.SERVICE_UNAVAILABLE, f"{len(self._tasks)} questions are waiting", "overloaded", headers={"retry-after": "30"}
            )
        if call.seconds > self.config.solve_s:
            raise RefusalError(HTTPStatus.BAD_REQUEST, f"a question has at most {self.config.solve_s:.0f} s here", param="seconds")
        tree = self.solves.begin(name, call.model_dump(exclude={"archive", "stream"}))
        try:
            await self._fill(tree, call)
        except ForgeError as error:
            self.solves.drop(name)
            raise RefusalError(HTTPStatus.BAD_REQUEST, str(error), "no_tree") from error
        self.solves.asked(name)
        self._start(name)
        return name

    async def follow(self, name: str, after: int = 0) -> AsyncIterator[dict[str, Any] | None]:
        """Events from `after` on, and the result as the last one; `None` now and then while nothing happens."""
        while True:
            news = self._news.setdefault(name, asyncio.Event())
            news.clear()
            done = self.solves.done(name)
            for event in self.solves.events(name, after):
                after += 1
                yield event | {"n": after}
            if done is not None:
                yield {"kind": "done", "id": name, **done}
                return
            try:
                await asyncio.wait_for(news.wait(), BEAT_S)
            except TimeoutError:
                yield None

    async def result(self, name: str) -> dict[str, Any]:
        """How a question ended, once it has."""
        async for event in self.follow(name):
            if event and event["kind"] == "done":
                return event
        raise AssertionError("a question ends with its result")

    def cancel(self, name: str) -> None:
        """Stop a question; one that has ended stays as it is."""
        if name in self._tasks:
            self._tasks[name].cancel()

    async def close(self) -> None:
        """Leave what is under way to the next process."""
        for task in self._tasks.values():
            task.cancel("closing")
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._agent.close()

    async def _fill(self, tree: Path, call: Call) -> None:
        if bool(call.repository) == bool(call.archive):
            raise ConfigError("give either repository or archive")
        if call.archive:
            try:
                raw = base64.b64decode(call.archive, validate=True)
            except (binascii.Error, ValueError) as error:
                raise ConfigError(f"the archive is no base64: {error}") from error
            await asyncio.to_thread(checkouts.unpack, raw, tree)
            return
        if not checkouts.allowed(call.repository, self.config.repositories):
            raise ConfigError(f"{call.repository} is not among serve.repositories, so the agent does not go there; send an archive")
        if "://" in call.repository:
            await checkouts.clone(call.repository, tree)
        else:
            await asyncio.to_thread(checkouts.copy, Path(call.repository), tree)

    def _start(self, name: str) -> None:
        task = asyncio.create_task(self._work(name))
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._tasks.pop(name, None))

    async def _work(self, name: str) -> None:
        question = {key: value for key, value in (self.solves.request(name) or {}).items() if key != "repository"}
        question["statement"] = question.pop("issue", "")
        try:
            async with self._places:
                result = await self._agent.solve(self.solves.tree(name), question, lambda event: self._tell(name, event))
        except asyncio.CancelledError as cancelled:
            if "closing" in cancelled.args:
                raise
            result = {"status": "cancelled", "patch": "", "reason": "cancelled"}
        except ForgeError as error:
            result = {"status": "failed", "patch": "", "reason": str(error)}
        except Exception as error:  # noqa: BLE001  a question that ends in a surprise must still end for its asker
            result = {"status": "failed", "patch": "", "reason": f"{type(error).__name__}: {error}"[:500]}
        self.solves.end(name, result)
        self._wake(name)

    def _tell(self, name: str, event: dict[str, Any]) -> None:
        self.solves.tell(name, event | {"at": round(time.time(), 3)})
        self._wake(name)

    def _wake(self, name: str) -> None:
        if name in self._news:
            self._news[name].set()


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
    async def chat(request: Request) -> Response:
        return await _chat(questions, request)

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


# The agent as a chat model


async def _chat(questions: Questions, request: Request) -> Response:
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
