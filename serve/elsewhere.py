"""A request for a model of another base, handed on to where that base answers; its answer streams back as it comes."""

from __future__ import annotations

from http import HTTPStatus

import aiohttp

from serve.answers import RefusalError, Scope, Send

PASSED_ON = (b"content-type", b"authorization", b"x-api-key", b"x-request-id", b"accept")
PASSED_BACK = ("content-type", "retry-after", "www-authenticate", "cache-control")


class Elsewhere:
    """Connections to the other bases of one endpoint."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, url: str, scope: Scope, body: bytes, send: Send) -> None:
        """Answer `scope` with what `url` answers. Raises `RefusalError` when nobody answers there."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5), connector=aiohttp.TCPConnector(limit=0)
            )
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in PASSED_ON}
        try:
            async with self._session.post(url.rstrip("/") + scope["path"], data=body, headers=headers) as answer:
                back = [(k.encode(), answer.headers[k].encode("latin-1")) for k in PASSED_BACK if k in answer.headers]
                await send({"type": "http.response.start", "status": answer.status, "headers": back})
                async for chunk in answer.content.iter_any():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        except aiohttp.ClientConnectorError as error:
            raise RefusalError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"the base of this model does not answer: {error}",
                "base_away",
                headers={"retry-after": "5"},
            ) from error
