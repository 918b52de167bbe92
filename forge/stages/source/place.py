"""Where a symbol stands in its file."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """1-based lines, both inclusive, decorators among them."""

    name: str
    first: int
    last: int
