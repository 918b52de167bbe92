"""Words of text and code, and how often each is in a document.

A word in a document is kept as 64 bits of BLAKE2b: equal in every process and on every day, so that counts of one file can be joined
with those of any other without a shared vocabulary. Among a million words two are taken for one with a chance of 3 in 100 million.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

IDENTIFIER = re.compile(r"\w+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_KNOWN = 500_000
"""Identifiers whose words are remembered, some 100 MB at most; a repository of 5,000 files has 150,000."""


class Bags(NamedTuple):
    """Documents as counted words, all in one: those of document 0, then of document 1."""

    words: NDArray[np.int64]
    """(pairs,) each word of a document once, hashed."""
    counts: NDArray[np.int32]
    """(pairs,) how often it is there."""
    sizes: NDArray[np.int32]
    """(documents,) different words of each."""
    lengths: NDArray[np.int64]
    """(documents,) words of each."""


def words(text: str) -> list[str]:
    """Lower-case words of text or code: `maxSum_2` gives max, sum, 2, and the identifier whole."""
    return [word for identifier in IDENTIFIER.findall(text) for word in _words(identifier)]


def hashed(text: str) -> list[int]:
    """The same words, hashed, in the same order."""
    return list(chain.from_iterable(map(_HASHES.__getitem__, IDENTIFIER.findall(text))))


def bags_of(path: str, named: Iterable[tuple[str, str]]) -> Bags:
    """A document for each name and source of one file: a name says more than a body and counts three times, the path twice."""
    shared = hashed(path) * 2
    found: list[int] = []
    counts: list[int] = []
    sizes: list[int] = []
    lengths: list[int] = []
    for name, source in named:
        document = [*hashed(name) * 3, *shared, *hashed(source)]
        counted = Counter(document)
        found.extend(counted)
        counts.extend(counted.values())
        sizes.append(len(counted))
        lengths.append(len(document))
    return Bags(np.array(found, np.int64), np.array(counts, np.int32), np.array(sizes, np.int32), np.array(lengths, np.int64))


@lru_cache(maxsize=30_000)
def bag_of(path: str, name: str, source: str) -> Bags:
    """The one document of a symbol; the same functions are looked at again and again, commit after commit."""
    return bags_of(path, [(name, source)])


def joined(parts: Sequence[Bags]) -> Bags:
    """All documents of all parts, in order."""
    if not parts:
        return bags_of("", [])
    return Bags(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _words(identifier: str) -> list[str]:
    parts = [part.lower() for part in _PART.findall(identifier)]
    return [*parts, identifier.lower()] if len(parts) > 1 else parts


class _Hashes(dict[str, tuple[int, ...]]):
    """Hashed words by identifier, made when first asked for; threads may share it."""

    def __missing__(self, identifier: str) -> tuple[int, ...]:
        if len(self) >= _KNOWN:
            self.clear()
        made = tuple(_hash(word) for word in _words(identifier))
        self[identifier] = made
        return made


_HASHES = _Hashes()


def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little", signed=True)
