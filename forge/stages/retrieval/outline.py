"""What retrieval keeps of a file: where its symbols are and their counted words. As bytes it can go through a pipe or into a cache."""

from __future__ import annotations

import gc
import hashlib
import json
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from forge.stages.retrieval.words import Bags, bags_of
from forge.stages.source.place import Place
from forge.stages.source.symbols import places_of, source_lines

_HEAD = struct.Struct("<III")
"""Bytes of the places as JSON, symbols, and pairs of symbol and word."""
_VERSION = f"2 {sys.version_info.major}.{sys.version_info.minor}"
"""Raised whenever outlines of the same source differ; the parser of Python is its own."""


class Outline(NamedTuple):
    """The symbols of one file, in order, and a bag of words for each."""

    places: tuple[Place, ...]
    bags: Bags


def outline_of(path: str, source: str) -> Outline:
    """The outline of a file; empty when it does not parse."""
    places = tuple(places_of(path, source))
    lines = source_lines(path, source) if places else []
    return Outline(places, bags_of(path, ((place.name, "".join(lines[place.first - 1 : place.last])) for place in places)))


def outlines_of(files: Iterable[tuple[str, str]]) -> list[Outline]:
    """The outlines of paths and sources, in order."""
    with uncollected():
        return [outline_of(path, source) for path, source in files]


def key_of(path: str, source: str) -> bytes:
    """32 bytes that differ for whatever may have another outline."""
    return hashlib.sha256(f"{_VERSION}\0{path}\0{source}".encode("utf-8", "surrogatepass")).digest()


def to_bytes(outline: Outline) -> bytes:
    """All of an outline; `from_bytes` gives it back."""
    places, bags = json.dumps(outline.places).encode(), outline.bags
    arrays = (bags.words.astype("<i8"), bags.counts.astype("<i4"), bags.sizes.astype("<i4"), bags.lengths.astype("<i8"))
    return b"".join((_HEAD.pack(len(places), len(bags.sizes), len(bags.words)), places, *(array.tobytes() for array in arrays)))


def from_bytes(body: bytes) -> Outline:
    """The outline that `to_bytes` made these bytes of; raises `ValueError` for others."""
    try:
        length, symbols, pairs = _HEAD.unpack_from(body)
        if len(body) != _HEAD.size + length + 12 * (pairs + symbols):
            raise ValueError(f"an outline of {len(body)} bytes is broken off")
        places = tuple(map(Place._make, json.loads(body[_HEAD.size : _HEAD.size + length])))
    except (struct.error, TypeError, RecursionError) as error:
        raise ValueError(f"this is no outline: {error}") from error
    start, columns = _HEAD.size + length, []
    for kind, size in (("<i8", pairs), ("<i4", pairs), ("<i4", symbols), ("<i8", symbols)):
        columns.append(np.frombuffer(body, kind, size, start))
        start += size * int(kind[-1])
    bags = Bags(*columns)
    if len(places) != symbols or int(bags.sizes.sum()) != pairs or (symbols and int(bags.sizes.min()) < 0):
        raise ValueError("the parts of an outline do not fit together")
    return Outline(places, bags)


@contextmanager
def uncollected() -> Iterator[None]:
    """Trees of syntax and outlines are many and have no cycles: looking for some while they are made takes a fifth of the time."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()
