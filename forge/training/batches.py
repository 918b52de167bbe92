"""Batches of rows of nearly equal length: padding is computed on like anything else, so little of it is time won.

For 360 rows of 100 to 350 tokens in batches of 16, a random order pads 47 %, `transformers`' own length
grouping 11 %, this one 4 % (means of ten passes).
"""

from __future__ import annotations

import itertools
import math
import random
import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

from forge.seams import TrainJob

T = TypeVar("T")


class LengthBatches:
    """Row indices in an order whose every `batch_size` neighbours are of nearly equal length.

    Another order in each pass, the same for the same seed and pass. Rows of equal length change places
    between batches; a small jitter lets near ones do so too. The short batch comes last.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, jitter: float = 0.05) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.jitter = jitter
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass; accelerate calls it, and it is what makes a resumed run see the same order."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        choice = random.Random(f"{self.seed}:{self.epoch}")
        noisy = [length * (1 + self.jitter * choice.random()) for length in self.lengths]
        order = sorted(range(len(noisy)), key=noisy.__getitem__)
        left_out = [order.pop(choice.randrange(len(order))) for _ in range(len(order) % self.batch_size)]
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        choice.shuffle(batches)
        yield from (index for batch in batches for index in batch)
        yield from left_out


def steps_of(job: TrainJob, rows: int) -> int:
    """Optimizer steps that a job takes over so many rows, when nothing stops it early."""
    return max(1, min(math.ceil(math.ceil(rows / job.batch_size) * job.epochs), job.max_steps or sys.maxsize))


def taken(lengths: Sequence[int], batch_size: int, seed: int, steps: int) -> list[list[int]]:
    """Row numbers of each of the first `steps` batches, pass after pass, as training takes them."""
    sampler = LengthBatches(lengths, batch_size, seed)
    found: list[list[int]] = []
    passes = 0
    while len(found) < steps:
        sampler.set_epoch(passes)
        order = list(sampler)
        found += [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
        passes += 1
    return found[:steps]


def interleaved(parts: Sequence[Sequence[T]]) -> list[T]:
    """All items of all parts: those of each part in their own order, spread evenly from the beginning to the end."""
    placed = [((at + 0.5) / len(part), number, item) for number, part in enumerate(parts) for at, item in enumerate(part)]
    return [item for _, _, item in sorted(placed, key=lambda entry: entry[:2])]


def split(batch: Sequence[T], times: int) -> list[Sequence[T]]:
    """A batch in `times` parts of nearly equal size, none of them empty; raises `ValueError` when it has fewer items."""
    if len(batch) < times:
        raise ValueError(f"{len(batch)} items do not make {times} parts")
    cuts = [round(part * len(batch) / times) for part in range(times + 1)]
    return [batch[start:end] for start, end in itertools.pairwise(cuts)]
