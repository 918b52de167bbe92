"""Which functions differ between two versions of a Python source; next to nothing of what is the same in both is parsed.

A source is cut before top-level functions and classes, a class before its methods, by looks, and pieces that both versions have are
left out. A piece that is left and parses by itself is one by right, unless it lies inside a string, which its quotes tell; where one
does not parse, both versions are parsed as a whole.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Container, Iterable, Iterator
from functools import lru_cache
from itertools import pairwise

from forge.stages.symbols import FunctionNode

Change = tuple[str, str | None, str | None]
"""Name of a function, its source (whole lines) before and after; `None` where it is not there."""
Functions = dict[str, tuple[str, ...]]
"""Sources by name, in order: a property and its setter have one name."""

_CUT = re.compile(r"\n(?=def |class |async |@|if |try:|for |while |with )")
"""Blocks are cut off too, or what is indented in them would look like methods of a class before them."""
_MEMBER = re.compile(r"\n([ \t]+)(?=def |async def |@)")
_DEFINES = re.compile(r"^[ \t]*(?:def|class|async def) ", re.MULTILINE)
_CLASS = re.compile(r"^class ", re.MULTILINE)
_BLOCK = "if 1:\n"
_BAD = (SyntaxError, ValueError, RecursionError, MemoryError)
_OLD = ("Missing parentheses", "multiple exception types", "leading zeros")
"""How the parser begins when it refuses what Python 2 took."""


class _UnclearError(Exception):
    """The pieces cannot be told apart by looks."""


class _OldError(Exception):
    """A piece has syntax that no whole can have."""


def changed_functions(before: str, after: str) -> list[Change] | None:
    """Top-level functions and methods of top-level classes that differ, in the order of `after`, removed ones last.

    `None` when one of the two does not parse.
    """
    if any("\r" in text and "\r" in text.replace("\r\n", "") for text in (before, after)):
        return None  # the parser ends lines there, and nothing else here does
    try:
        was, now = _compared(before, after)
    except _OldError:
        return None
    if was is None or now is None:
        return None
    changes = [(name, *_differing(was.get(name, ()), sources)) for name, sources in now.items() if was.get(name) != sources]
    return changes + [(name, sources[0], None) for name, sources in was.items() if name not in now]


def _compared(before: str, after: str) -> tuple[Functions | None, Functions | None]:
    """What one of the two alone has, or all functions of both; `None` for one that does not parse."""
    try:
        return _in_pieces(before, after)
    except _UnclearError:
        now = _parsed(after)
        return (None if now is None else _parsed(before)), now


def _in_pieces(before: str, after: str) -> tuple[Functions, Functions]:
    """The functions in pieces that one version alone has; raises `_UnclearError`."""
    sides = [dict.fromkeys(pieces) for pieces in _middles(before, after)]
    parts = [dict.fromkeys(_members(pieces, other)) for pieces, other in zip(sides, sides[::-1], strict=True)]
    found: list[Functions] = []
    for own, other in zip(parts, parts[::-1], strict=True):
        functions: Functions = {}
        for class_name, piece in own:
            if (class_name, piece) not in other:
                defined = _parsed(piece, class_name)
                if defined is None:
                    raise _UnclearError
                for name, sources in defined.items():
                    for source in sources:
                        _add(functions, name, source)
        found.append(functions)
    return found[0], found[1]


def _middles(before: str, after: str) -> tuple[list[str], list[str]]:
    """The top-level pieces of both, without those that both begin and end with."""
    old, new = ([0, *(match.end() for match in _CUT.finditer(text)), len(text)] for text in (before, after))
    most = min(len(old), len(new)) - 1
    head = 0
    while head < most and before[old[head] : old[head + 1]] == after[new[head] : new[head + 1]]:
        head += 1
    while head > 0 and (after.startswith("@", new[head - 1]) or _is_open(after[: new[head]])):
        head -= 1
    tail = 0
    while tail < most - head and before[old[-2 - tail] : old[-1 - tail]] == after[new[-2 - tail] : new[-1 - tail]]:
        tail += 1
    while tail > 0 and any(
        len(cuts) - tail - head > 1 and text.startswith("@", cuts[-2 - tail]) for text, cuts in ((before, old), (after, new))
    ):
        tail -= 1
    return _cut(before, old[head : len(old) - tail]), _cut(after, new[head : len(new) - tail])


def _members(pieces: Iterable[str], other: Container[str]) -> Iterator[tuple[str, str]]:
    """What the pieces that `other` lacks consist of: class and text of each method, no class and the whole text of a function."""
    for piece in pieces:
        if piece in other or not (_DEFINES.match(piece) or piece.startswith("@")):
            continue
        if not _CLASS.search(piece):
            yield "", piece
        elif found := list(_MEMBER.finditer(piece)):
            indent = min((match.group(1) for match in found), key=len)
            head, *methods = _cut(piece, [0, *(match.start() + 1 for match in found if match.group(1) == indent), len(piece)])
            name = _class_of(f"{head}{indent}pass\n", indent)
            if not name:
                raise _UnclearError
            yield from ((name, method) for method in methods)


def _cut(text: str, places: list[int]) -> list[str]:
    """The text in pieces. Decorators stay with what they decorate, and no piece ends inside a string of several lines."""
    pieces: list[str] = []
    goes_on = False
    for start, end in pairwise(places):
        if goes_on:
            pieces[-1] += text[start:end]
        else:
            pieces.append(text[start:end])
        piece = pieces[-1]
        goes_on = _is_open(piece) or (piece.lstrip().startswith("@") and not _DEFINES.search(piece))
    if goes_on:
        raise _UnclearError
    return pieces


def _is_open(piece: str) -> bool:
    """Whether a string of several lines seems to go on where a piece ends."""
    return piece.count('"""') % 2 == 1 or piece.count("'''") % 2 == 1


def _parsed(text: str, class_name: str = "") -> Functions | None:
    """Functions of a source, or of lines out of a class's body; `None` when it does not parse."""
    try:
        body = ast.parse(_BLOCK + text if class_name else text).body
    except _BAD as error:
        if isinstance(error, SyntaxError) and error.msg.startswith(_OLD):
            raise _OldError from error
        return None
    lines = text.split("\n")
    found: Functions = {}
    if class_name:
        # What follows a class without being cut off, such as an assignment, comes after the block.
        if not isinstance(body[0], ast.If) or body[0].orelse:
            return None
        for node in body[0].body:
            if isinstance(node, FunctionNode):
                _add(found, f"{class_name}.{node.name}", _source(node, lines, 1))
        return found
    for node in body:
        if isinstance(node, FunctionNode):
            _add(found, node.name, _source(node, lines, 0))
        elif isinstance(node, ast.ClassDef):
            for own in node.body:
                if isinstance(own, FunctionNode):
                    _add(found, f"{node.name}.{own.name}", _source(own, lines, 0))
    return found


@lru_cache(maxsize=4096)
def _class_of(head: str, indent: str) -> str:
    """The name of the one class whose body's last statement stands at `indent`, added there; empty for anything else."""
    try:
        body = ast.parse(head).body
    except _BAD:
        return ""
    if len(body) != 1 or not isinstance(body[0], ast.ClassDef):
        return ""
    last = body[0].body[-1]
    return body[0].name if isinstance(last, ast.Pass) and last.col_offset == len(indent) else ""


def _source(node: FunctionNode, lines: list[str], shift: int) -> str:
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - shift
    last = (node.end_lineno or node.lineno) - shift
    text = "\n".join(lines[first - 1 : last])
    return text if last == len(lines) else f"{text}\n"


def _add(functions: Functions, name: str, source: str) -> None:
    known = functions.get(name, ())
    if source not in known:
        functions[name] = (*known, source)


def _differing(before: tuple[str, ...], after: tuple[str, ...]) -> tuple[str | None, str | None]:
    """The first pair in which the functions of one name differ."""
    for was, source in zip(before, after, strict=False):
        if was != source:
            return was, source
    if len(after) > len(before):
        return (before[-1] if before else None), after[len(before)]
    return before[len(after)], after[-1]
