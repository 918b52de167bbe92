"""Several sets mixed in shares: the best or any of each, the same exercises in the same order for the same seed."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from forge.errors import ConfigError
from forge.mining.public.instruct import Instruct
from forge.records import Record


class Share(Record):
    """What is taken of one set."""

    weight: float = Field(1.0, gt=0.0)
    """Its part of the mixture, relative to the other weights."""
    least_quality: float = Field(0.0, ge=0.0, le=1.0)
    """Exercises with a lower score are left out; those without a score stay."""
    take: Literal["best", "any"] = "best"
    """Those with the highest scores, equal ones and those without by lot; or any by lot."""
    languages: tuple[str, ...] = ()
    """Programming languages to keep; all when none is given. Exercises that do not say theirs stay."""


class Recipe(Record):
    """A mixture of `total` exercises."""

    total: int = Field(ge=1)
    seed: int = 0
    shares: dict[str, Share]


class Taken(Record):
    """What became of one set's exercises: all that were `read` are `taken`, in `dropped` by reason, or `spare`."""

    read: int
    wanted: int
    taken: int
    spare: int
    dropped: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class Mixture:
    """The exercises, all sets stirred, and what became of each set's. A set that has too few is not made up for by others."""

    exercises: tuple[Instruct, ...]
    counts: dict[str, Taken]

    def __iter__(self) -> Iterator[Instruct]:
        return iter(self.exercises)

    def __len__(self) -> int:
        return len(self.exercises)


def mix(sources: Mapping[str, Iterable[Instruct]], recipe: Recipe) -> Mixture:
    """The mixture of `sources` by `recipe`; each source is read once, and no more of it held than is wanted.

    The same question with the same answer is taken once, from the first of the recipe's sets that has it. Raises
    `ConfigError` when recipe and sources do not name the same sets.
    """
    if sources.keys() != recipe.shares.keys():
        odd = sorted(sources.keys() ^ recipe.shares.keys())
        raise ConfigError(f"the recipe and the sources differ in {', '.join(odd)}; name each set in both")
    wanted = quotas(recipe)
    seen: set[bytes] = set()
    picked: list[Instruct] = []
    counts: dict[str, Taken] = {}
    for name, share in recipe.shares.items():
        pile = _Pile(share, wanted[name], recipe.seed)
        for exercise in sources[name]:
            pile.offer(exercise, seen)
        picked += pile.kept()
        counts[name] = pile.counts()
    picked.sort(key=lambda exercise: _lot(recipe.seed + 1, exercise))
    return Mixture(tuple(picked), counts)


def quotas(recipe: Recipe) -> dict[str, int]:
    """How many exercises of each set are wanted: the total by weights, what rounding leaves to the largest remainders."""
    weights = sum(share.weight for share in recipe.shares.values())
    exact = {name: recipe.total * share.weight / weights for name, share in recipe.shares.items()}
    whole = {name: int(value) for name, value in exact.items()}
    order = sorted(exact, key=lambda name: (whole[name] - exact[name], name))
    for name in order[: recipe.total - sum(whole.values())]:
        whole[name] += 1
    return whole


class _Pile:
    """The best exercises of one set that were offered so far."""

    def __init__(self, share: Share, wanted: int, seed: int) -> None:
        self._share, self._wanted, self._seed = share, wanted, seed
        self._heap: list[tuple[float, int, int, Instruct]] = []
        self._read = self._fit = 0
        self._dropped: dict[str, int] = {}

    def offer(self, exercise: Instruct, seen: set[bytes]) -> None:
        self._read += 1
        mark = hashlib.blake2b(f"{exercise.instruction}\0{exercise.context}\0{exercise.answer}".encode("utf-8", "replace"), digest_size=12)
        reason = self._unfit(exercise) or ("same as another" if mark.digest() in seen else "")
        if reason:
            self._dropped[reason] = self._dropped.get(reason, 0) + 1
            return
        seen.add(mark.digest())
        self._fit += 1
        score = -1.0 if exercise.quality is None or self._share.take == "any" else exercise.quality
        entry = score, _lot(self._seed, exercise), self._read, exercise
        if len(self._heap) < self._wanted:
            heapq.heappush(self._heap, entry)
        elif self._heap:
            heapq.heappushpop(self._heap, entry)

    def kept(self) -> list[Instruct]:
        return [exercise for *_, exercise in self._heap]

    def counts(self) -> Taken:
        taken = len(self._heap)
        return Taken(read=self._read, wanted=self._wanted, taken=taken, spare=self._fit - taken, dropped=self._dropped)

    def _unfit(self, exercise: Instruct) -> str:
        if exercise.quality is not None and exercise.quality < self._share.least_quality:
            return "below the least quality"
        if self._share.languages and exercise.language and exercise.language not in self._share.languages:
            return "another language"
        return ""


def _lot(seed: int, exercise: Instruct) -> int:
    """A number that is drawn for an exercise, the same for the same seed wherever it stands."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{exercise.id}".encode("utf-8", "replace"), digest_size=8).digest())
