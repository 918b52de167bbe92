"""Fields of a suite's row, read strictly: a wrong schema is one sentence that says what lacks and what is there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from forge.errors import ConfigError

Row = Mapping[str, Any]


class RowError(ConfigError):
    """A row is not of the suite that it was taken for."""


def text(row: Row, *names: str, empty: bool = False) -> str:
    """The first of these fields that is there, a string, and not an empty one unless it may be; raises `RowError`."""
    for name in names:
        if isinstance(value := row.get(name), str):
            if not empty and not value.strip():
                raise RowError(f"its {name} is empty")
            return value
    there = ", ".join(map(str, row)) or "no field"
    raise RowError(f"it has no text {' or '.join(names)} (there are {there})")


def identifier(row: Row, name: str) -> str:
    """A field that names the row, a text or a number; raises `RowError`."""
    value = row.get(name)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else text(row, name)


def texts(row: Row, name: str, *, empty: bool = False) -> tuple[str, ...]:
    """A field that is a list of strings; raises `RowError`."""
    value = row.get(name)
    if value is None and empty:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(entry, str) for entry in value) or not (value or empty):
        raise RowError(f"its {name} is no list of texts" if value else f"it has no {name}")
    return tuple(value)


def mapping(row: Row, name: str) -> dict[str, Any]:
    """A field that is an object, or the JSON of one; raises `RowError`."""
    value = parsed(row[name], name) if isinstance(row.get(name), str) else row.get(name)
    if not isinstance(value, dict):
        raise RowError(f"its {name} is no object")
    return value


def parsed(value: str, name: str) -> Any:
    """The value of some JSON; raises `RowError`."""
    try:
        return json.loads(value)
    except ValueError:
        raise RowError(f"its {name} is not JSON") from None
