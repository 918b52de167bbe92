"""API keys of an endpoint: names, scopes and hashes in one file that its owner alone can read. The keys that are made for
others are kept nowhere; the one by which forge asks its own endpoint lies beside the file.

A key is 256 random bits, so its SHA-256 says nothing of it and needs no salt. Comparison takes the same time whatever was sent.
It does not protect against somebody who can write the file.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from forge.errors import ConfigError, StoreError
from forge.records import Record
from forge.store import atomic

PREFIX = "forge-"
Scope = Literal["infer", "solve", "admin"]
SCOPES: tuple[Scope, ...] = ("infer", "solve", "admin")
OWN = "forge-itself"
"""The name of the key that forge asks its own endpoint with."""
_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,62}$")


class ApiKey(Record):
    """Who may do what: `infer` asks models, `solve` runs the agent, `admin` sees and does everything."""

    name: str
    sha256: str
    scopes: tuple[Scope, ...]
    per_minute: int = 0
    """Requests a minute; 0 is no limit."""

    def allows(self, scope: Scope) -> bool:
        """Whether the key's scopes hold this one."""
        return scope in self.scopes or "admin" in self.scopes


class KeyFile:
    """The keys in a file; there are none when it does not exist."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[ApiKey, ...]:
        """All keys, by name; raises `StoreError` for a file that is none of ours."""
        if not self.path.exists():
            return ()
        try:
            return tuple(ApiKey.model_validate(entry) for entry in json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, ValidationError) as error:
            raise StoreError(f"{self.path} is no file of API keys: {error}; make one with forge keys add NAME") from error

    def add(self, name: str, scopes: Sequence[Scope], per_minute: int = 0) -> str:
        """The new key of `name`, which is shown this once; raises `ConfigError` when the name is taken or is none."""
        if not _NAME.match(name):
            raise ConfigError(f"'{name}' is no name for a key; take lower-case letters, digits, dots and dashes")
        secret = PREFIX + secrets.token_urlsafe(32)
        with atomic.locked(self._lock()):
            known = self.read()
            if any(key.name == name for key in known):
                raise ConfigError(f"there is a key {name} already; revoke it first with forge keys revoke {name}")
            self._write([*known, ApiKey(name=name, sha256=hashed(secret), scopes=tuple(scopes), per_minute=per_minute)])
        return secret

    def revoke(self, name: str) -> None:
        """Take a key away; raises `ConfigError` when there is none of that name."""
        with atomic.locked(self._lock()):
            known = self.read()
            if all(key.name != name for key in known):
                raise ConfigError(f"there is no key {name}; there are: {', '.join(key.name for key in known) or 'none'}")
            self._write([key for key in known if key.name != name])

    def own(self) -> str:
        """The key by which forge itself asks the endpoint: made once, in a file beside this one that its owner alone can read."""
        path = self.path.with_name(f".{self.path.name}.own")
        with atomic.locked(self._lock()):
            if not path.exists():
                with atomic.replacing(path) as temporary:
                    temporary.touch(mode=0o600)
                    temporary.write_text(PREFIX + secrets.token_urlsafe(32), encoding="utf-8")
            return path.read_text(encoding="utf-8")

    def _lock(self) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.path.with_name(f".{self.path.name}.lock")

    def _write(self, keys: Sequence[ApiKey]) -> None:
        body = json.dumps([key.model_dump(mode="json") for key in sorted(keys, key=lambda key: key.name)], indent=1)
        with atomic.replacing(self.path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(body, encoding="utf-8")


def hashed(secret: str) -> str:
    """Hex SHA-256 of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()


def find(keys: Sequence[ApiKey], secret: str) -> ApiKey | None:
    """The key that `secret` is; every one is compared, whatever is found."""
    presented, found = hashed(secret), None
    for key in keys:
        if hmac.compare_digest(key.sha256, presented):
            found = key
    return found
