"""Lexical retrieval of symbols: BM25 (Robertson et al. 1994) over names, paths and sources."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from rank_bm25 import BM25Okapi

from forge.records import Symbol

_IDENTIFIER = re.compile(r"\w+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


class Index:
    """A BM25 index over the symbols of one tree; identifiers are split at `_`, case changes and digits."""

    def __init__(self, symbols: Sequence[Symbol]) -> None:
        self.symbols = tuple(symbols)
        # A name says more than a body: it counts three times, the path twice.
        documents = [words(s.name) * 3 + words(s.path) * 2 + words(s.source) for s in self.symbols]
        self._bm25 = BM25Okapi(documents) if documents else None

    def search(self, query: str, k: int) -> list[Symbol]:
        """The best `k` symbols, best first; equal scores in the order of the index."""
        if self._bm25 is None:
            return []
        scores = self._bm25.get_scores(words(query))
        order = sorted(range(len(self.symbols)), key=lambda i: (-scores[i], i))
        return [self.symbols[i] for i in order[:k]]


def words(text: str) -> list[str]:
    """Lower-case words of text or code: `maxSum_2` gives max, sum, 2, and the identifier whole."""
    return list(_words(text))


@lru_cache(maxsize=100_000)
def _words(text: str) -> tuple[str, ...]:
    """The same functions are looked at again and again, tree after tree."""
    found: list[str] = []
    for identifier in _IDENTIFIER.findall(text):
        parts = [p.lower() for p in _PART.findall(identifier)]
        found += parts
        if len(parts) > 1:
            found.append(identifier.lower())
    return tuple(found)
