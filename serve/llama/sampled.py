"""One completion by llama-server, token-exact: the ids that were drawn, a logprob for each, and those of given choices.

llama-server leaves out the logprob of a token that ends inside a character, and of those that spell a stop text. What is missing is
asked for: the distribution after the tokens before it, which it computes with the same weights.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from serve.llama.asked import CACHED, FIELDS, drawn, refusal
from serve.llama.child import Child
from serve.llama.material import Facts

FIRST_TOP = 64
"""Best tokens that are looked through for a given one, before all are."""
CERTAIN = 1e4
"""Added to a logit, it decides what is drawn; logprobs are told as they were before."""


class Token(NamedTuple):
    """A token with its logprob in nats, before temperature and restrictions."""

    id: int
    text: str
    bytes: tuple[int, ...]
    logprob: float


class Place(NamedTuple):
    """A token that was drawn, and the best ones at its place."""

    token: Token
    best: tuple[Token, ...]


class Completion(NamedTuple):
    """`ids` include the end token; `places` has one for each id, or nothing where no logprobs were asked for."""

    text: str
    ids: tuple[int, ...]
    finish: str
    stop: str | None
    places: tuple[Place, ...] = ()
    cached: int = 0
    """Tokens of the prompt that were not computed again."""


class Judgement(NamedTuple):
    """The choice that was drawn, a logprob for each of them, and the tokens of the prompt that were not computed again."""

    token: int
    logprobs: list[float]
    cached: int


class Prompt(NamedTuple):
    """Token ids for one model of a server."""

    child: Child
    model: str
    ids: tuple[int, ...]

    def after(self, more: Sequence[int]) -> Prompt:
        return self._replace(ids=(*self.ids, *more))

    def body(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {**settings, "prompt": list(self.ids), "lora": self.child.lora(self.model)}


async def complete(prompt: Prompt, settings: Mapping[str, Any], facts: Facts) -> Completion:
    """The completion; with places where the settings ask for `n_probs`. Raises `RefusalError`."""
    answer = await prompt.child.post("/completion", prompt.body(settings))
    ids = tuple(answer["tokens"])
    places: tuple[Place, ...] = ()
    if settings.get("n_probs"):
        told = [place_of(entry) for entry in answer.get("completion_probabilities", [])]
        places = await _whole(prompt, ids, told, settings["n_probs"], facts)
    finish, stop = ending_of(answer)
    return Completion(answer["content"], ids, finish, stop, places, answer.get(CACHED, 0))


async def judged(prompt: Prompt, choices: Sequence[int], temperature: float, seed: int | None, facts: Facts) -> Judgement:
    """One of the choices, drawn among them alone, and the logprobs of all of them in the whole distribution."""
    found, cached = await distribution(prompt, choices, facts)
    logprobs = [found[choice].logprob for choice in choices]
    if temperature == 0.0:
        return Judgement(choices[max(range(len(choices)), key=logprobs.__getitem__)], logprobs, cached)
    best = max(logprobs)
    weights = [math.exp((value - best) / temperature) for value in logprobs]
    return Judgement(random.Random(seed).choices(list(choices), weights)[0], logprobs, cached)


async def distribution(prompt: Prompt, wanted: Collection[int], facts: Facts) -> tuple[dict[int, Token], int]:
    """Logprobs of the next token, by id: of those that are wanted at least; and how much of the prompt was cached."""
    strange = [one for one in wanted if not 0 <= one < facts.vocabulary]
    if strange:
        raise refusal(f"{strange[0]} is no token id of this base, which has {facts.vocabulary}")
    # An end token is drawn, whatever the model thinks of it: llama-server tells nothing of a token that ends inside a character.
    settings = drawn(0.0, None) | {"n_predict": 1, "logit_bias": [[facts.ends[0], CERTAIN]], "response_fields": list(FIELDS)}
    cached = None
    for top in (min(FIRST_TOP, facts.vocabulary), facts.vocabulary):
        answer = await prompt.child.post("/completion", prompt.body(settings | {"n_probs": top}))
        cached = answer.get(CACHED, 0) if cached is None else cached
        place = place_of(answer["completion_probabilities"][0])
        found = {token.id: token for token in (place.token, *place.best)}
        if all(one in found for one in wanted):
            break
    return found, cached or 0


async def _whole(prompt: Prompt, ids: Sequence[int], told: Sequence[Place], top: int, facts: Facts) -> tuple[Place, ...]:
    """A place for each id, those that were not told asked for."""
    places: list[Place] = []
    for index, place in enumerate(aligned(ids, told)):
        if place is None:
            found, _ = await distribution(prompt.after(ids[:index]), [ids[index]], facts)
            best = sorted(found.values(), key=lambda token: -token.logprob)[:top]
            place = Place(found[ids[index]], tuple(best))
        places.append(place)
    return tuple(places)


def aligned(ids: Sequence[int], told: Sequence[Place]) -> list[Place | None]:
    """Which of the places, in order, belongs to each id; `None` where none does, or where it could be another of the same token."""
    if len(ids) == len(told):
        return list(told)
    first, last = _matched(ids, told), _matched(ids[::-1], told[::-1])
    found: list[Place | None] = [None] * len(ids)
    for number, place in enumerate(told):
        index = first.get(number)
        if index is not None and index == len(ids) - 1 - last.get(len(told) - 1 - number, -1):
            found[index] = place
    return found


def _matched(ids: Sequence[int], told: Sequence[Place]) -> dict[int, int]:
    """The earliest index in `ids` that each place can have."""
    found, number = {}, 0
    for index, token in enumerate(ids):
        if number < len(told) and told[number].token.id == token:
            found[number] = index
            number += 1
    return found


def place_of(entry: Mapping[str, Any]) -> Place:
    """A place as llama-server tells it."""
    return Place(_token(entry), tuple(_token(one) for one in entry["top_logprobs"]))


def ending_of(answer: Mapping[str, Any]) -> tuple[str, str | None]:
    """OpenAI's finish reason, and the stop text that was met."""
    kind = answer.get("stop_type")
    return ("length" if kind == "limit" else "stop"), (answer.get("stopping_word") or None if kind == "word" else None)


def _token(entry: Mapping[str, Any]) -> Token:
    return Token(entry["id"], entry["token"], tuple(entry["bytes"]), float(entry["logprob"]))
