"""Hard negatives of a change: symbols that look as if they were meant, and edits that stop before they are done."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from typing import NamedTuple

from forge.records import Symbol
from forge.stages.edits import hunks_between
from forge.stages.retrieval.index import Index
from forge.stages.source.symbols import foreign
from forge.stages.source.tree_symbols import parses, tokens_of
from forge.stages.stage import Hunk


def near(touched: Sequence[Symbol], pool: Sequence[Symbol], taken: Collection[str], count: int) -> list[Symbol]:
    """Up to `count` symbols whose text is nearest to the touched ones, by turns of their files and of others, none `taken`."""
    if not count:
        return []
    files = {symbol.path for symbol in touched}
    free = [symbol for symbol in pool if symbol.key not in taken]
    ranked = Index(free).search("\n".join(symbol.source for symbol in touched), len(free))
    beside = [symbol for symbol in ranked if symbol.path in files]
    elsewhere = [symbol for symbol in ranked if symbol.path not in files]
    turns = chain.from_iterable(zip_longest(beside, elsewhere))
    return [symbol for symbol in turns if symbol is not None][:count]


def half_done(before: Mapping[str, str], after: Mapping[str, str], touched: Sequence[Symbol], count: int) -> tuple[tuple[Hunk, ...], ...]:
    """Up to `count` first parts of the edit between two versions of files, the longest first.

    Each parses, lies inside the touched symbols, and lacks code of the whole, not only comments or docstrings: whether the
    missing part changes what a test sees is not known.
    """
    places = [place for path in sorted(before) for place in _places(path, before[path], after[path])]
    found: dict[tuple[Hunk, ...], None] = {}
    for kept in _cuts(places):
        if len(found) >= count:
            break
        made = {path: _with(before[path], [place for place in kept if place.path == path]) for path in before}
        codes = {path: _code(path, text) for path, text in made.items()}
        if None not in codes.values() and any(codes[path] != _code(path, after[path]) for path in before):
            hunks = tuple(hunk for path in sorted(before) for hunk in _hunks(path, before[path], made[path], touched))
            if hunks and all(hunk.symbol and hunk.old for hunk in hunks):
                found.setdefault(hunks)
    return tuple(found)


class _Place(NamedTuple):
    """Lines `start` to `end` (0-based, exclusive) of the old file and what stands there afterwards."""

    path: str
    start: int
    end: int
    new: tuple[str, ...]


def _places(path: str, before: str, after: str) -> Iterator[_Place]:
    old, new = before.split("\n"), after.split("\n")
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            yield _Place(path, a, b, tuple(new[c:d]))


def _cuts(places: Sequence[_Place]) -> Iterator[list[_Place]]:
    """The first parts of an edit, longest first: without its last line, its last two lines, and so on down to its first line."""
    for whole in range(len(places) - 1, -1, -1):
        last = places[whole]
        done = list(places[:whole])
        for lines in range(len(last.new) - 1, 0, -1):
            # Of what is replaced as many lines are gone as new ones have come.
            yield [*done, _Place(last.path, last.start, min(last.end, last.start + lines), last.new[:lines])]
        if done:
            yield done


def _with(text: str, places: Sequence[_Place]) -> str:
    lines = text.split("\n")
    for place in reversed(places):
        lines[place.start : place.end] = place.new
    return "\n".join(lines)


def _hunks(path: str, before: str, made: str, touched: Sequence[Symbol]) -> list[Hunk]:
    return hunks_between(path, before, made, [symbol for symbol in touched if symbol.path == path]) if before != made else []


def _code(path: str, text: str) -> Hashable | None:
    """The program without comments and docstrings, `None` when it does not parse."""
    if language := foreign(path):
        return tokens_of(language, text) if parses(language, text) else None
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:]
    return ast.dump(tree)
