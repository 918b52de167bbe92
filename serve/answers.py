"""Answers that the front gives by itself, in the words of OpenAI's API."""

from __future__ import annotations

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
