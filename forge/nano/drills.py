"""Copying drills: sequences of random tokens of which parts come again.

Nothing in them can be guessed, so the only way to a lower loss is to find the earlier place and copy what followed
(induction heads: Olsson et al. 2022, arXiv 2209.11895). A model that has read some hundred thousand such tokens copies
names it has never seen; on the corpus alone a model of this size did not learn to in four million.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

WIDTHS = ((32, 110), (64, 60), (144, 110))
"""`(tokens a row, steps)`: short rows first, since there a half-formed head already pays."""

FIRST_TOKEN = 3
"""Ids below it are special tokens."""

Row = tuple[list[int], list[float]]
"""Token ids and their loss weights."""


def drills(rng: random.Random, vocabulary: int, batch_tokens: int) -> Iterator[list[Row]]:
    """Batches of about `batch_tokens` tokens; only what can be copied has weight 1."""
    for width, steps in WIDTHS:
        for _ in range(steps):
            make = _repeated if width <= 32 else _spans
            yield [make(rng, vocabulary, width) for _ in range(batch_tokens // width)]


def _repeated(rng: random.Random, vocabulary: int, width: int) -> Row:
    """A sequence that starts again from its beginning."""
    unit = [rng.randrange(FIRST_TOKEN, vocabulary) for _ in range(width // 2 - rng.randint(0, 4))]
    weights = [0.0] * (len(unit) + 1) + [1.0] * width
    return (unit * 3)[:width], weights[:width]


def _spans(rng: random.Random, vocabulary: int, width: int) -> Row:
    """A sequence, then spans from anywhere in it; where a span starts cannot be known and has no weight."""
    unit = [rng.randrange(FIRST_TOKEN, vocabulary) for _ in range(width // 2 - rng.randint(0, 4))]
    tokens, weights = list(unit), [0.0] * len(unit)
    while len(tokens) < width:
        length = rng.randint(6, min(24, len(unit)))
        start = rng.randrange(len(unit) - length + 1)
        tokens += unit[start : start + length]
        weights += [0.0] + [1.0] * (length - 1)
    return tokens[:width], weights[:width]
