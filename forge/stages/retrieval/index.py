"""Lexical retrieval of symbols: BM25 over names, paths and sources."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

import numpy as np

from forge.records import Symbol
from forge.stages.retrieval.okapi import Okapi
from forge.stages.retrieval.outline import Outline
from forge.stages.retrieval.words import Bags, bag_of, hashed, joined
from forge.stages.source.symbols import symbol_at


class Index:
    """A BM25 index over symbols; identifiers are split at `_`, case changes and digits."""

    def __init__(self, symbols: Sequence[Symbol]) -> None:
        kept = tuple(symbols)
        self._set(joined([bag_of(s.path, s.name, s.source) for s in kept]), lambda number: kept[number])

    @classmethod
    def of_files(cls, files: Mapping[str, str], outlines: Mapping[str, Outline]) -> Index:
        """Over all symbols of these outlines, in their order; `files` are the sources that they are of.

        A symbol is made when a search finds it: a large tree has a hundred thousand.
        """
        paths = list(outlines)
        ends = list(accumulate(len(outline.places) for outline in outlines.values()))

        def symbol(number: int) -> Symbol:
            file = bisect_right(ends, number)
            path = paths[file]
            places = outlines[path].places
            return symbol_at(path, files[path], places, number - ends[file] + len(places))

        made = cls.__new__(cls)
        made._set(joined([outline.bags for outline in outlines.values()]), symbol)
        return made

    def __len__(self) -> int:
        return self._size

    def search(self, query: str, k: int) -> list[Symbol]:
        """The best `k` symbols, best first; equal scores in the order of the index."""
        if self._okapi is None:
            return []
        scores = self._okapi.scores(hashed(query))
        return [self._symbol(number) for number in np.argsort(-scores, kind="stable")[:k].tolist()]

    def _set(self, bags: Bags, symbol: Callable[[int], Symbol]) -> None:
        self._size = len(bags.sizes)
        self._okapi = Okapi(bags) if self._size else None
        self._symbol = symbol
