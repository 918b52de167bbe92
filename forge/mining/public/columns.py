"""Fields of rows that somebody else wrote: text, numbers, and which programming language is meant."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from typing import Any

Columns = Mapping[str, Any]
_LANGUAGES = {"py": "python", "python3": "python", "js": "javascript", "ts": "typescript", "c#": "csharp", "cpp": "c++", "golang": "go"}
_LICENCES = {
    "mit": "MIT",
    "apache-2.0": "Apache-2.0",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "isc": "ISC",
    "cc0-1.0": "CC0-1.0",
    "unlicense": "Unlicense",
    "mpl-2.0": "MPL-2.0",
    "epl-1.0": "EPL-1.0",
    "artistic-2.0": "Artistic-2.0",
    "gpl-2.0": "GPL-2.0-only",
    "gpl-3.0": "GPL-3.0-only",
    "agpl-3.0": "AGPL-3.0-only",
    "lgpl-2.1": "LGPL-2.1-only",
    "lgpl-3.0": "LGPL-3.0-only",
}
"""GitHub's keys of licences as SPDX identifiers; the keys do not say whether later versions are allowed."""


def text(row: Columns, name: str) -> str:
    """The field as text; empty where there is none."""
    value = row.get(name)
    return "" if value is None else str(value)


def number(row: Columns, name: str) -> float | None:
    """The field as a number, which sets write as text too; `None` where it is none."""
    try:
        return float(row.get(name))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def inside(row: Columns, name: str) -> Any:
    """The field, read where it is the text of a JSON or Python value; `None` where that fails."""
    value = row.get(name)
    if not isinstance(value, str):
        return value
    for read in (json.loads, ast.literal_eval):
        try:
            return read(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def language(name: str) -> str:
    """A programming language in lower case, by one name each."""
    low = name.strip().lower()
    return _LANGUAGES.get(low, low)


def licence(name: str) -> str:
    """SPDX identifier of a licence as GitHub or a set names it; `NOASSERTION` for none or an unknown one."""
    return _LICENCES.get(name.strip().lower(), "NOASSERTION")


def digest(*parts: str) -> str:
    """Sixteen hex digits that stand for these texts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:16]
