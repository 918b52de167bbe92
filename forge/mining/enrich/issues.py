"""The text of issues that commits name, from a file as GitHub's command line writes it."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from forge.errors import ConfigError
from forge.mining.row import Row

MAX_BODY = 4_000
"""Characters of an issue's body that are shown."""


class _Issue(BaseModel):
    number: int
    title: str
    body: str = ""


class Issues:
    """Issues by number; of a set of several repositories only those of one should be given."""

    def __init__(self, path: Path | None) -> None:
        self._texts = {issue.number: f"{issue.title}\n\n{issue.body[:MAX_BODY]}".strip() for issue in _read(path)} if path else {}

    def of(self, row: Row) -> str:
        """The first issue that the row's message names and the file has; empty when there is none."""
        return next((self._texts[number] for number in row.issues if number in self._texts), "")


def _read(path: Path) -> list[_Issue]:
    try:
        return TypeAdapter(list[_Issue]).validate_python(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"mining.enrich.issues: {path} cannot be read ({reason}); write it with gh issue list --state all --json number,title,body"
        ) from error
