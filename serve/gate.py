"""Whether a request's key may do what it asks for, and so often."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from forge.store import keys
from forge.store.keys import ApiKey
from serve.answers import RefusalError, Scope
from serve.limits import Buckets


class Gate:
    """Holds the keys that count now; without any, everybody may do everything."""

    def __init__(self) -> None:
        self.keys: Sequence[ApiKey] = ()
        self._buckets = Buckets()

    def allow(self, scope: Scope, wanted: keys.Scope | None) -> str:
        """The name of the request's key, empty where none is asked for; raises `RefusalError` when it may not do this."""
        if wanted is None or not self.keys:
            return ""
        key = keys.find(self.keys, _secret(scope))
        if key is None:
            told = "no valid API key; send one as 'Authorization: Bearer KEY'"
            raise RefusalError(HTTPStatus.UNAUTHORIZED, told, "invalid_api_key", headers={"www-authenticate": "Bearer"})
        if not key.allows(wanted):
            raise RefusalError(HTTPStatus.FORBIDDEN, f"the key '{key.name}' allows {', '.join(key.scopes)}, not {wanted}", "missing_scope")
        if wait := self._buckets.wait_s(key.name, key.per_minute):
            told = f"the key '{key.name}' may send {key.per_minute} requests a minute"
            raise RefusalError(HTTPStatus.TOO_MANY_REQUESTS, told, "rate_limit_exceeded", headers={"retry-after": str(int(wait) + 1)})
        return key.name


def _secret(scope: Scope) -> str:
    told: dict[bytes, str] = {name: value.decode("latin-1") for name, value in scope["headers"] if name in (b"authorization", b"x-api-key")}
    scheme, _, secret = told.get(b"authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else told.get(b"x-api-key", "")
