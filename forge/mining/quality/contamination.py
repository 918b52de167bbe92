"""Rows that share n-grams with a benchmark: whoever learns from them has seen the exam."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Mapping
from zlib import crc32

import numpy as np

from forge.config import ContaminationConfig

_TOKEN = re.compile(r"\w+|[^\w\s]")
COMMON = 3
"""An n-gram in more benchmarks' items than this (licence headers, boilerplate) says nothing."""


class Benchmarks:
    """Which n-grams are in which set."""

    def __init__(self, sets: Mapping[str, Iterable[str]], config: ContaminationConfig) -> None:
        """`sets` are texts of each benchmark's items."""
        self._config = config
        self._grams = {name: _frequent_left_out(texts, config.ngram) for name, texts in sets.items()}

    def of(self, text: str) -> str:
        """The first set that a text shares too much with; empty when there is none."""
        mine = grams(text, self._config.ngram) if self._grams else ()
        if not len(mine):
            return ""
        for name, known in self._grams.items():
            shared = int(np.isin(mine, known, assume_unique=False).sum())
            if shared > self._config.share * len(mine):
                return name
        return ""


def grams(text: str, size: int) -> np.ndarray:
    """64-bit hashes of a text's n-grams of tokens, letters in one case, each once."""
    tokens = np.array([crc32(token.encode("utf-8", "surrogatepass")) for token in _TOKEN.findall(text.lower())], np.uint64)
    if len(tokens) < size:
        return np.empty(0, np.uint64)
    rolled = np.zeros(len(tokens) - size + 1, np.uint64)
    with np.errstate(over="ignore"):
        for place in range(size):
            rolled = rolled * np.uint64(0x9E3779B97F4A7C15) + tokens[place : place + len(rolled)] + np.uint64(1)
    return np.unique(rolled)


def _frequent_left_out(texts: Iterable[str], size: int) -> np.ndarray:
    every = array("Q")
    for text in texts:
        every.frombytes(grams(text, size).tobytes())
    found, counts = np.unique(np.frombuffer(every, np.uint64) if every else np.empty(0, np.uint64), return_counts=True)
    return found[counts <= COMMON]


def added_text(diff: str) -> str:
    """What a diff puts in, without its signs."""
    return "\n".join(line[1:] for line in diff.split("\n") if line.startswith("+") and not line.startswith("+++"))
