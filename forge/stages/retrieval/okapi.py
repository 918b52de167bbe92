"""BM25 over counted words: what `rank_bm25.BM25Okapi` computes (Robertson et al. 1994; Trotman et al. 2014), by NumPy.

A word in more than half of the documents would have a negative weight; it gets `EPSILON` times the mean weight instead. The terms of a
score are computed and added in that library's order, so that scores are equal to the last bit but for that mean, which it sums
with rounding (docs/decisions/0020). Only the words of a query are weighed, when it is asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forge.stages.retrieval.words import Bags

K1, B, EPSILON = 1.5, 0.75, 0.25


class Okapi:
    """Scores of at least one document."""

    def __init__(self, bags: Bags) -> None:
        order = np.argsort(bags.words, kind="stable")
        found = bags.words[order]
        heads = np.flatnonzero(np.r_[True, found[1:] != found[:-1]][: len(found)])
        self._words = found[heads]
        """(words,) sorted; the documents of word i are those between `_bounds[i]` and `_bounds[i + 1]`."""
        self._bounds = np.append(heads, len(found))
        self._documents = np.repeat(np.arange(len(bags.sizes), dtype=np.int32), bags.sizes)[order]
        self._counts = bags.counts[order]
        self._size = len(bags.sizes)
        mean_length = int(bags.lengths.sum()) / self._size or 1.0
        self._norms = K1 * (1 - B + B * bags.lengths / mean_length)
        self._floor = EPSILON * self._mean_weight()

    def scores(self, query: Sequence[int]) -> NDArray[np.float64]:
        """(documents,) scores for the hashed words of a query; a word that comes twice counts twice."""
        scores = np.zeros(self._size)
        if not query or not len(self._words):
            return scores
        places = np.searchsorted(self._words, np.array(query, np.int64))
        terms: dict[int, tuple[NDArray[np.int32], NDArray[np.float64]]] = {}
        for word, place in zip(query, places.tolist(), strict=True):
            if place == len(self._words) or self._words[place] != word:
                continue
            if place not in terms:
                terms[place] = self._term(place)
            documents, added = terms[place]
            scores[documents] += added
        return scores

    def _term(self, place: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """The documents that have a word, and what it adds to their scores."""
        start, end = int(self._bounds[place]), int(self._bounds[place + 1])
        documents, counts = self._documents[start:end], self._counts[start:end]
        weight = self._weight(end - start)
        return documents, (weight if weight >= 0 else self._floor) * (counts * (K1 + 1) / (counts + self._norms[documents]))

    def _weight(self, having: int) -> float:
        return math.log(self._size - having + 0.5) - math.log(having + 0.5)

    def _mean_weight(self) -> float:
        """The mean over all words, negative ones too; words that are in equally many documents weigh the same."""
        having = np.bincount(np.diff(self._bounds))
        alike = np.flatnonzero(having)
        return math.fsum(self._weight(int(n)) * int(having[n]) for n in alike) / max(1, len(self._words))
