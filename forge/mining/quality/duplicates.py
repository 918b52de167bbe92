"""The same change twice, over all repositories: exact by a hash of the normalised diff, near by MinHash.

Signatures are kept as bytes beside each row; what is held in memory for a whole set is one hash a band and row. Of each group
the oldest row stays, so that the result does not depend on the order in which rows come.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np
from datasketch import MinHash

from forge.config import DuplicatesConfig
from forge.records import Record

_TOKEN = re.compile(r"\w+|[^\w\s]")
SEED = 1
"""Of the hash functions: signatures of different runs can be compared."""


class Fingerprint(Record):
    """What of a diff is compared with others: `exact` its hash, `near` its MinHash in base64 (empty: too short for one)."""

    exact: str
    near: str = ""


class Aged(Record):
    """A row as duplicates are told apart: the one with the smallest `age` stays."""

    id: str
    age: str
    print: Fingerprint


def fingerprint_of(diff: str, config: DuplicatesConfig) -> Fingerprint:
    """The fingerprint of a diff: of what it takes out and puts in, not of where, nor of its spaces."""
    tokens = _TOKEN.findall("\n".join(_changed(diff)))
    exact = hashlib.sha256("\x1f".join(tokens).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    shingles = {"\x1f".join(tokens[at : at + config.shingle]) for at in range(len(tokens) - config.shingle + 1)}
    if not config.near or len(shingles) < config.shingle:
        return Fingerprint(exact=exact)
    signature = _empty(config.permutations).copy()
    signature.update_batch([shingle.encode("utf-8", "surrogatepass") for shingle in shingles])
    return Fingerprint(exact=exact, near=signature.hashvalues.astype(np.uint32).tobytes().hex())


def duplicates(rows: Iterable[Aged], config: DuplicatesConfig) -> dict[str, str]:
    """By id, why a row goes: another one that is older, or was named first, says the same. Reads `rows` once."""
    groups = _Groups()
    exact: dict[str, int] = {}
    bands: list[dict[bytes, list[int]]] = []
    signatures: list[bytes] = []
    ids: list[tuple[str, str]] = []
    same: dict[int, str] = {}
    for number, row in enumerate(rows):
        ids.append((row.age, row.id))
        groups.add()
        signature = bytes.fromhex(row.print.near)
        signatures.append(signature)
        if config.exact and (first := exact.setdefault(row.print.exact, number)) != number:
            groups.join(first, number)
            same[number] = same[first] = "exact duplicate"
        if config.near and signature:
            bands = bands or [{} for _ in range(_bands(config))]
            for other in _alike(number, signature, bands, signatures, config):
                groups.join(other, number)
    return {
        ids[number][1]: same.get(number, "near duplicate")
        for group in groups.all()
        for number in sorted(group, key=lambda number: ids[number])[1:]
    }


def _alike(
    number: int, signature: bytes, bands: list[dict[bytes, list[int]]], signatures: list[bytes], config: DuplicatesConfig
) -> Iterator[int]:
    """Rows before this one whose signatures agree in the wanted share; it is put into the bands."""
    mine = np.frombuffer(signature, np.uint32)
    width = len(mine) // len(bands)
    seen: set[int] = set()
    for place, band in enumerate(bands):
        key = mine[place * width : (place + 1) * width].tobytes()
        members = band.setdefault(key, [])
        for other in members[:_LOOKED_AT]:
            if other not in seen:
                seen.add(other)
                if float(np.mean(np.frombuffer(signatures[other], np.uint32) == mine)) >= config.similarity:
                    yield other
        members.append(number)


_LOOKED_AT = 16
"""Rows of one band that a new one is compared with: all of them are alike in that band, so the first few find the group."""


def _bands(config: DuplicatesConfig) -> int:
    """How many bands a signature is cut into: as many as let nearly every pair (99 %) of the wanted similarity meet in one."""
    for rows in range(config.permutations, 0, -1):
        bands = config.permutations // rows
        if 1 - (1 - config.similarity**rows) ** bands >= 0.99:
            return bands
    return config.permutations


class _Groups:
    """Disjoint sets of numbers."""

    def __init__(self) -> None:
        self._parents: list[int] = []

    def add(self) -> None:
        self._parents.append(len(self._parents))

    def join(self, left: int, right: int) -> None:
        a, b = self._root(left), self._root(right)
        self._parents[max(a, b)] = min(a, b)

    def all(self) -> Iterator[list[int]]:
        """Every set that has more than one member."""
        members: dict[int, list[int]] = {}
        for number in range(len(self._parents)):
            if (root := self._root(number)) != number:
                members.setdefault(root, [root]).append(number)
        yield from members.values()

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number


def _changed(diff: str) -> Iterator[str]:
    for line in diff.split("\n"):
        if line[:1] in ("+", "-") and line[:3] not in ("+++", "---"):
            yield line


@cache
def _empty(count: int) -> Any:
    """A MinHash of nothing to copy: drawing the permutations anew takes longer than all the rest."""
    return MinHash(num_perm=count, seed=SEED)
