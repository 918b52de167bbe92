"""What ASGI apps of ours share: refusals in the words of OpenAI's API, and bodies that are read whole before anybody else sees them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class RefusalError(Exception):
    """A request that is not passed on; `code` is OpenAI's, `headers` go beside the body."""

    def __init__(
        self, status: HTTPStatus, message: str, code: str | None = None, *, param: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.headers = status, code, param, headers or {}

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code or int(self.status)}}


async def send_json(send: Send, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
    """A whole JSON response."""
    raw = json.dumps(body).encode()
    told = {"content-type": "application/json", "content-length": str(len(raw)), **(headers or {})}
    await send({"type": "http.response.start", "status": int(status), "headers": [(k.encode(), v.encode()) for k, v in told.items()]})
    await send({"type": "http.response.body", "body": raw})


async def whole_body(receive: Receive, most: int, within_s: float) -> bytes:
    """The whole body; raises `RefusalError` for one that is too long or too slow, or whose client has gone."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(within_s):
            while True:
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise RefusalError(HTTPStatus.BAD_REQUEST, "the client went away")
                parts.append(event.get("body", b""))
                size += len(parts[-1])
                if size > most:
                    raise RefusalError(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the request is longer than {most:,} bytes", "request_too_large"
                    )
                if not event.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError as error:
        raise RefusalError(HTTPStatus.REQUEST_TIMEOUT, f"the request was not sent within {within_s:.0f} s", "request_timeout") from error


def replayed(body: bytes, receive: Receive) -> Receive:
    """A stream that gives the body once and then what the client does next."""
    given = False

    async def again() -> Event:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
