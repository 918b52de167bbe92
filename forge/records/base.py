"""What every record is, and the smallest ones."""

from __future__ import annotations

import hashlib
import json
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

STAGES = ("analysis", "relevance", "planning", "generation", "review")
"""The stages in the order in which the agent runs them."""

COMBINED = "combined"
"""What stands in the place of a stage's name for an adapter that serves all stages."""

Role = Literal["system", "user", "assistant"]


class Record(BaseModel):
    """A frozen value with a schema version and a content hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: ClassVar[int] = 1

    def content_hash(self) -> str:
        """Hex SHA-256 over type name, schema version and canonical JSON: equal content, equal hash."""
        body = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        head = f"{type(self).__name__}:{self.schema_version}:"
        return hashlib.sha256((head + body).encode()).hexdigest()


class Keyed(Record):
    """What is kept by a hash of all that it depends on."""

    key: str


class FileEdit(Record):
    """The whole new content of one file; `None` deletes it. Paths are POSIX, relative to the repository."""

    path: str
    content: str | None


class Message(Record):
    """One chat message."""

    role: Role
    content: str
