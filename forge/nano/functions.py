"""Instances of function families: source text, calls that exercise it, and what they give.

A family is a template. `{name}` places are filled from word pools, `«a||b»` is one of its alternatives (only
the first at difficulty 0), so one family makes thousands of functions that share an idea, not their text.
"""

from __future__ import annotations

import keyword
import random
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from forge.errors import ForgeError
from forge.nano import words
from forge.records import Record

_KEPT = {*keyword.kwlist, "range", "len", "min", "max", "sum", "append", "enumerate", "zip", "int", "sorted", "count", "insert", "abs"}
"""Words that belong to a function's shape, not to its names."""

MAX_TRACED_LINES = 3000
"""Lines after which a call is taken to hang (a mutated loop); practice functions run some dozens."""


class Family(Record):
    """One kind of function: `verbs` name it, `args` are the kinds of its arguments, in order."""

    name: str
    verbs: tuple[str, ...]
    doc: str
    template: str
    args: tuple[str, ...]


class Function(Record):
    """One generated function with the calls that test it; `calls` are `(call, expected)` source texts."""

    family: str
    name: str
    source: str
    calls: tuple[tuple[str, str], ...]


POOLS: Mapping[str, Sequence[str]] = {
    "a": words.LISTS,
    "b": words.LISTS,
    "x": words.LOOPS,
    "y": words.LOOPS,
    "r": words.RESULTS,
    "q": words.RESULTS,
    "k": words.SCALARS,
    "m": words.SCALARS,
    "s": words.TEXTS,
    "t": words.TEXTS,
}


def make(family: Family, rng: random.Random, *, difficulty: float = 0.5, calls: int = 6, taken: frozenset[str] = frozenset()) -> Function:
    """A function of the family whose name is not in `taken`, with up to `calls` distinct working calls."""
    for _ in range(500):
        source, name = _fill(family, rng, difficulty)
        if name in taken:
            continue
        tested = _calls(source, name, family, rng, calls)
        if len(tested) >= min(3, calls):
            return Function(family=family.name, name=name, source=source, calls=tuple(tested))
    raise ForgeError(f"the family {family.name} gave no new working function in 500 tries; it is defective or its names are used up")


def shape(source: str) -> str:
    """A function's text, or a template's, with names numbered in order of appearance and every number alike."""
    names: dict[str, str] = {}

    def plain(word: re.Match[str]) -> str:
        text = word.group().strip("{}")
        if text.isdigit() or re.fullmatch(r"c\d", text):
            return "0"
        return text if text in _KEPT else names.setdefault(text, f"v{len(names)}")

    return re.sub(r"\{?\w+\}?", plain, source)


def evaluate(source: str, call: str) -> str:
    """`repr` of a call's result, or the exception's type name after `!`; `!hang` when it does not end."""
    scope: dict[str, Any] = {}
    try:
        exec(compile(source, "<practice>", "exec"), scope)  # noqa: S102 - text that this module generated
        return repr(_bounded(lambda: eval(call, scope)))  # noqa: S307
    except _Hang:
        return "!hang"
    except Exception as error:  # noqa: BLE001 - whatever a mutated function raises is its result
        return f"!{type(error).__name__}"


def _fill(family: Family, rng: random.Random, difficulty: float) -> tuple[str, str]:
    def choose(match: re.Match[str]) -> str:
        alternatives: list[str] = match.group(1).split("||")
        # All alternatives from the middle of the scale on, only the first at its low end.
        allowed = round(1 + min(1.0, 2 * difficulty) * (len(alternatives) - 1))
        return rng.choice(alternatives[:allowed])

    text = family.template.strip("\n")
    while "«" in text:
        text = re.sub(r"«([^«»]*)»", choose, text)
    names: dict[str, str] = {}
    for place, pool in POOLS.items():
        names[place] = rng.choice([word for word in pool if word not in names.values()])
    for number in range(1, 10):
        names[f"c{number}"] = str(rng.randint(2, 12))
    name = f"{rng.choice(family.verbs)}_{rng.choice(words.NOUNS)}"
    if rng.random() < 0.4:
        name += f"_{rng.choice(words.NOUNS)}"
    names["f"] = name
    names["doc"] = family.doc
    source = re.sub(r"\{(\w+)\}", lambda match: names[match.group(1)], text)
    lines = [line for line in source.split("\n") if line.strip() != "~"]
    return "\n".join(lines) + "\n", name


def _calls(source: str, name: str, family: Family, rng: random.Random, wanted: int) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for _ in range(wanted * 6):
        call = f"{name}({', '.join(repr(ARGUMENTS[kind](rng)) for kind in family.args)})"
        expected = evaluate(source, call)
        # Variety of results makes tests that tell right from wrong.
        varied = sum(result == expected for result in found.values()) < (2 if len(expected) > 5 else 3)
        if varied and not expected.startswith("!") and len(call) <= 60 and len(expected) <= 40:
            found.setdefault(call, expected)
        if len(found) == wanted:
            break
    return list(found.items())


def _ints(rng: random.Random) -> list[int]:
    return [rng.randint(-4, 15) for _ in range(rng.choice((0, 1, 2, 3, 3, 4, 4, 5)))]


def _positives(rng: random.Random) -> list[int]:
    return [rng.randint(1, 12) for _ in range(rng.choice((1, 2, 3, 3, 4, 4, 5)))]


def _repeats(rng: random.Random) -> list[int]:
    kinds = [rng.randint(0, 9) for _ in range(2)]
    return [rng.choice(kinds) for _ in range(rng.choice((0, 2, 3, 4, 5, 6)))]


def _word(rng: random.Random) -> str:
    return "".join(rng.choice(words.LETTERS[:8]) for _ in range(rng.choice((0, 1, 3, 4, 5, 6))))


ARGUMENTS: Mapping[str, Callable[[random.Random], object]] = {
    "ints": _ints,
    "positives": _positives,
    "repeats": _repeats,
    "int": lambda rng: rng.randint(0, 20),
    "small": lambda rng: rng.randint(1, 4),
    "word": _word,
    "words": lambda rng: [_word(rng) or "a" for _ in range(rng.choice((0, 1, 2, 3)))],
    "digits": lambda rng: str(rng.randint(0, 99999)),
    "pairs": lambda rng: [(low, low + rng.randint(0, 6)) for low in (rng.randint(0, 12) for _ in range(rng.choice((0, 1, 2, 3))))],
    "table": lambda rng: {rng.choice(words.LETTERS[:6]): rng.randint(0, 9) for _ in range(rng.choice((0, 1, 2, 3)))},
}


class _Hang(BaseException):
    """A traced call ran too many lines."""


def _bounded(call: Callable[[], object]) -> object:
    left = MAX_TRACED_LINES

    def trace(_frame: FrameType, _event: str, _argument: object) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise _Hang
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return call()
    finally:
        sys.settrace(before)
