"""What stands before vLLM's app on every way in: who asks, how much, and which model is meant.

    request ─► route known? ─► key, scope ─► rate ─► body within its limit ─► model's name ─► vLLM's app, or another base's

Only the routes below exist for clients; whatever else vLLM's app has (it loads adapters from any path, without a key) is not
there. A body is passed on as it came unless a name in it means another one. No prompt is kept or logged here.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Protocol

import msgspec

from forge.config import ServeConfig
from forge.store import keys
from forge.store.keys import ApiKey
from serve.answers import App, Event, Receive, RefusalError, Scope, Send, replayed, send_json, whole_body
from serve.gate import Gate
from serve.names import Meaning, Names, card, known, meaning_of

ROUTES: Mapping[tuple[str, str], keys.Scope | None] = {
    ("GET", "/health"): None,
    ("GET", "/ready"): None,
    ("GET", "/v1/models"): "infer",
    ("GET", "/openapi.json"): "infer",
    ("GET", "/version"): "infer",
    ("GET", "/forge/address"): "infer",
    ("POST", "/v1/chat/completions"): "infer",
    ("POST", "/v1/completions"): "infer",
    ("POST", "/tokenize"): "infer",
    ("POST", "/detokenize"): "infer",
    ("POST", "/forge/sample"): "infer",
    ("GET", "/metrics"): "admin",
}
"""Every route, and what a key must allow; `None` asks for no key."""
MODELS = "/v1/models/"
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,128}$")
ASLEEP_RETRY_S = 30


class Watch(Protocol):
    """Told of every request when it is over."""

    def __call__(self, *, route: str, model: str, status: int, seconds: float) -> None: ...


class Front:
    """An ASGI app around vLLM's; `load` makes an adapter of this base answer, and says why when it cannot."""

    def __init__(
        self,
        app: App,
        config: ServeConfig,
        *,
        load: Callable[[str, str], Awaitable[str]],
        ready: Callable[[], str],
        forward: Callable[[str, Scope, bytes, Send], Awaitable[None]],
        watch: Watch,
    ) -> None:
        self.app, self.config = app, config
        self.names = Names()
        self.under_way = self.answering = 0
        self._load, self._ready, self._forward, self._watch = load, ready, forward, watch
        self._gate = Gate()
        self._began = int(time.time())
        self._awake = asyncio.Event()

    def follow(self, names: Names, known_keys: Sequence[ApiKey]) -> None:
        """From now on these names and keys hold."""
        self.names, self._gate.keys = names, known_keys
        self._awake.clear() if names.asleep else self._awake.set()

    async def drained(self) -> None:
        """Return when nothing is being answered any more; while the names say asleep, nothing new begins."""
        while self.answering:  # noqa: ASYNC110  (many end, one waits, and seldom)
            await asyncio.sleep(0.05)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        began, seen, scope = time.monotonic(), _Seen(), _from_its_root(scope)

        async def tell(event: Event) -> None:
            if event["type"] == "http.response.start":
                seen.status = event["status"]
            await send(event)

        try:
            await self._answer(scope, receive, tell, seen)
        except RefusalError as refusal:
            if seen.status == 0:
                await send_json(tell, refusal.body, refusal.status, refusal.headers)
        finally:
            self._watch(route=seen.route, model=seen.model, status=seen.status, seconds=time.monotonic() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, seen: _Seen) -> None:
        method, path = scope["method"], scope["path"]
        route = MODELS.rstrip("/") if path.startswith(MODELS) else path
        if (method, route) not in ROUTES:
            raise _no_route(method, path)
        seen.route = route
        self._gate.allow(scope, ROUTES[method, route])
        if method == "GET":
            await self._get(scope, receive, send)
            return
        body = await whole_body(receive, self.config.max_request_bytes, self.config.read_s)
        async with _Place(self):
            call = _call(body)
            meant = self._meant(call.get("model"))
            seen.model = meant.model_id
            self._refuse_too_much(call)
            await self._wake(meant)
            if call.get("model") not in (None, meant.model_id):
                body = msgspec.json.encode(call | {"model": meant.model_id})
            if meant.base != self.names.own:
                await self._forward(self.names.bases[meant.base], scope, body, send)
                return
            await self._pass_on(meant, scope, body, receive, send)

    async def _pass_on(self, meant: Meaning, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Let vLLM answer, with the adapter loaded."""
        self.answering += 1
        try:
            if meant.path is not None and (problem := await self._load(meant.model_id, meant.path)):
                raise RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, f"{meant.model_id} cannot be loaded: {problem}", "model_not_loaded")
            await self.app(_with_length(scope, len(body)), replayed(body, receive), send)
        finally:
            self.answering -= 1

    async def _get(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/ready":
            reason = "the card is lent to training" if self.names.asleep else self._ready()
            await send_json(send, {"ready": not reason, "reason": reason}, 503 if reason else 200)
        elif path == "/v1/models":
            cards = [card(self.names, name, self._began) for name in known(self.names)]
            await send_json(send, {"object": "list", "data": cards})
        elif path.startswith(MODELS):
            found = card(self.names, path.removeprefix(MODELS), self._began)
            if found is None:
                raise self._no_model(path.removeprefix(MODELS))
            await send_json(send, found)
        else:
            await self.app(scope, receive, send)

    def _meant(self, name: object) -> Meaning:
        if name is None:
            return Meaning(model_id=self.names.own, base=self.names.own)
        meant = meaning_of(self.names, name) if isinstance(name, str) else None
        if meant is None:
            raise self._no_model(name)
        return meant

    def _no_model(self, name: object) -> RefusalError:
        return RefusalError(
            HTTPStatus.NOT_FOUND, f"there is no model '{name}'; known are {', '.join(known(self.names))}", "model_not_found", param="model"
        )

    def _refuse_too_much(self, call: Mapping[str, Any]) -> None:
        most = self.config.max_choices
        for name, asked in (("n", call.get("n")), ("prompt", call.get("prompt")), ("prompts", call.get("prompts"))):
            many = len(asked) if isinstance(asked, list) and not all(isinstance(one, int) for one in asked) else asked
            if isinstance(many, int) and many > most:
                raise RefusalError(HTTPStatus.BAD_REQUEST, f"{name} asks for {many} answers; at most {most} a request", param=name)

    async def _wake(self, meant: Meaning) -> None:
        """Wait as long as the configuration says for a card that is lent to training."""
        if self._awake.is_set() or meant.base != self.names.own:
            return
        try:
            await asyncio.wait_for(self._awake.wait(), self.config.asleep_wait_s)
        except TimeoutError as error:
            raise RefusalError(
                HTTPStatus.SERVICE_UNAVAILABLE, "the card is lent to training; ask again later", "asleep",
                headers={"retry-after": str(ASLEEP_RETRY_S)},
            ) from error  # fmt: skip


class Stamped:
    """An app whose every request and answer has an id: the client's own where it sends a sane one. Serve's proxy does the same."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)

        async def stamp(event: Event) -> None:
            if event["type"] == "http.response.start":
                event["headers"] = [*(h for h in event.get("headers", []) if h[0] != b"x-request-id"), (b"x-request-id", request_id)]
            await send(event)

        await self.app(scope, receive, stamp)


class _Seen:
    """What is known of a request while it is answered."""

    route, model, status = "unknown", "", 0


class _Place:
    """A place among the requests that are under way; there are only so many."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def __aenter__(self) -> None:
        if self._front.under_way >= self._front.config.max_waiting:
            raise RefusalError(
                HTTPStatus.SERVICE_UNAVAILABLE, f"{self._front.under_way} requests are under way already", "overloaded",
                headers={"retry-after": "1"},
            )  # fmt: skip
        self._front.under_way += 1

    async def __aexit__(self, *_: object) -> None:
        self._front.under_way -= 1


def _request_id(scope: Scope) -> bytes:
    """The client's own, where it has a sane one, else a new one; put among the headers for whoever answers."""
    given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
    chosen = (given if _REQUEST_ID.match(given) else uuid.uuid4().hex).encode()
    scope["headers"] = [*(h for h in scope["headers"] if h[0] != b"x-request-id"), (b"x-request-id", chosen)]
    return chosen


def _from_its_root(scope: Scope) -> Scope:
    """The same request, its path as from the root: Serve leaves the prefix of a second base in it."""
    root = scope.get("root_path", "")
    if not root or not scope["path"].startswith(root + "/"):
        return scope
    return {**scope, "path": scope["path"].removeprefix(root), "root_path": ""}


def _call(body: bytes) -> dict[str, Any]:
    try:
        call = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise RefusalError(HTTPStatus.BAD_REQUEST, f"the body is no JSON: {error}", "invalid_json") from error
    if not isinstance(call, dict):
        raise RefusalError(HTTPStatus.BAD_REQUEST, "the body is no JSON object", "invalid_json")
    return call


def _with_length(scope: Scope, size: int) -> Scope:
    kept = [header for header in scope["headers"] if header[0] not in (b"content-length", b"transfer-encoding")]
    return {**scope, "headers": [*kept, (b"content-length", str(size).encode())]}


def _no_route(method: str, path: str) -> RefusalError:
    there = sorted({known_path for _, known_path in ROUTES})
    if any(known_path == path for _, known_path in ROUTES):
        return RefusalError(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} does not take {method}", headers={"allow": _allowed(path)})
    return RefusalError(HTTPStatus.NOT_FOUND, f"there is no {path[:200]}; there are {', '.join(there)}", "unknown_url")


def _allowed(path: str) -> str:
    return ", ".join(sorted(method for method, known_path in ROUTES if known_path == path))
