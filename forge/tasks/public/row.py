"""Fields of a row of a public set, each read strictly; and what a record leaves over, so that a row can be written again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from forge.errors import TaskError
from forge.store.diffs import split

Row = Mapping[str, Any]
_IMAGE = re.compile(r"[a-z0-9][a-z0-9._/:@-]*(:[A-Za-z0-9_.-]+)?(@sha256:[0-9a-f]{64})?")


def text(row: Row, name: str, *, empty: bool = False) -> str:
    """A field that must be a string, and not an empty one unless it may be; raises `TaskError`."""
    value = row.get(name)
    if value is None and empty:
        return ""
    if not isinstance(value, str) or not (empty or value.strip()):
        raise TaskError(f"no {name}" if value in (None, "") else f"{name} is not a text")
    return value


def names(row: Row, name: str, *, empty: bool = True) -> tuple[str, ...]:
    """A list of test names, as a list or as the JSON of one; raises `TaskError`."""
    value = row.get(name)
    if isinstance(value, str):
        value = _json(value, name)
    if value is None:
        value = []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TaskError(f"{name} is not a list of names")
    if not value and not empty:
        raise TaskError(f"{name} names no test")
    return tuple(value)


def mapping(row: Row, name: str) -> dict[str, Any]:
    """A field that is an object, or the JSON of one; raises `TaskError`."""
    value = row.get(name)
    if isinstance(value, str):
        value = _json(value, name)
    if not isinstance(value, dict):
        raise TaskError(f"no {name}" if value is None else f"{name} is not an object")
    return value


def patch(row: Row, name: str, *, empty: bool = False) -> str:
    """A unified diff with at least one file in it; raises `TaskError`."""
    value = text(row, name, empty=empty)
    if value.strip() and not split(value):
        raise TaskError(f"{name} is not a diff")
    return value


def image(name: str) -> str:
    """The name of an image, as an engine takes it; raises `TaskError`."""
    if not _IMAGE.fullmatch(name):
        raise TaskError("the image's name is none")
    return name


def leftover(row: Row, written: Row) -> str:
    """JSON of what `row` says beyond or unlike `written`, and of what it does not say at all."""
    more = {key: value for key, value in row.items() if key not in written or _canonical(written[key]) != _canonical(value)}
    return _canonical({"more": more, "absent": sorted(key for key in written if key not in row)})


def restored(written: Row, fields: str) -> dict[str, Any]:
    """The row that `leftover` was taken of."""
    known = json.loads(fields)
    absent = set(known.get("absent", ()))
    kept = {key: value for key, value in written.items() if key not in absent}
    return kept | dict(known.get("more", {}))


def _json(value: str, name: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        raise TaskError(f"{name} is not JSON") from None


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
