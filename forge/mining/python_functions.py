"""Which functions differ between two versions of a Python source; next to nothing of what is the same in both is parsed.

A source is cut before top-level functions and classes, a class before its methods, by looks, and pieces that both versions have are
left out. A piece that is left and parses by itself is one by right, unless it lies inside a string, which its quotes tell; where one
does not parse, both versions are parsed as a whole.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from symtable import symtable
from typing import TypeVar

from forge.stages.source.symbols import FunctionNode

T = TypeVar("T", bound=Hashable)

Change = tuple[str, str | None, str | None]
"""Name of a function, its source (whole lines) before and after; `None` where it is not there."""
Functions = dict[str, tuple[str, ...]]
"""Sources by name, in order: a property and its setter have one name."""
Member = tuple[str, str]
"""The class that a piece belongs to, empty for none, and its text."""

_CUT = re.compile(r"\n(?=def |class |async |@|if |try:|for |while |with )")
"""Blocks are cut off too, or what is indented in them would look like methods of a class before them."""
_MEMBER = re.compile(r"\n([ \t]+)(?=def |async def |@)")
_METHOD = re.compile(r"[ \t]+(?:def |async def |@)")
_DEFINES = re.compile(r"^[ \t]*(?:def|class|async def) .*", re.MULTILINE)
_DECORATOR = re.compile(r"[ \t]*@")
_FUNCTION = re.compile(r"( *)(?:@[\w.]+(?:\([^()\n\"'#\\]*\))?\n\1)*(?:async )?def (\w+)\(", re.ASCII)
"""A function from its first line on, with decorators that end where they begin."""
_QUOTED = re.compile(
    r"""
    \#[^\n]*
    | \"{3} [^"\\]* (?: (?: \\. | "(?!"") ) [^"\\]* )* \"{3}
    | '{3} [^'\\]* (?: (?: \\. | '(?!'') ) [^'\\]* )* '{3}
    | (?P<open> \"{3} | '{3} ) .*
    | " (?: \\. | [^"\\\n] )* "
    | ' (?: \\. | [^'\\\n] )* '
    """,
    re.DOTALL | re.VERBOSE,
)
"""Comments and strings; `open` when one of several lines does not end."""
_WINDOW = 4096
"""Characters before a change that are looked at first for the cut before it."""
_LOOK = 80
"""Characters behind a cut that tell that it is one."""
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
        now = _whole(after)
        return (None if now is None else _whole(before)), now


def _whole(text: str) -> Functions | None:
    """All functions of a source; `None` when it does not parse."""
    found = _parsed.__wrapped__(text)  # not remembered: whole sources are large
    functions: Functions = {}
    for name, source in found or ():
        _add(functions, name, source)
    return None if found is None else functions


def _in_pieces(before: str, after: str) -> tuple[Functions, Functions]:
    """The functions in pieces that one version alone has; raises `_UnclearError`."""
    old, new = _middles(before, after, _CUT)
    old, new = _without(old, new), _without(new, old)
    classes = _by_line(old), _by_line(new)
    was, now = list(_members(old, *classes)), list(_members(new, *classes[::-1]))
    return _functions(_without(was, now)), _functions(_without(now, was))


def _without(own: Iterable[T], other: Iterable[T]) -> list[T]:
    """What one side alone has, each once."""
    there = frozenset(other)
    return [piece for piece in dict.fromkeys(own) if piece not in there]


def _functions(members: Iterable[Member]) -> Functions:
    functions: Functions = {}
    for class_name, piece in members:
        defined = _parsed(piece, class_name)
        if defined is None:
            raise _UnclearError
        for name, source in defined:
            _add(functions, name, source)
    return functions


def _by_line(pieces: Iterable[str]) -> dict[str, str]:
    """Classes by the line that names them, where no two have the same."""
    found: dict[str, str] = {}
    for piece in pieces:
        if line := _class_line(piece):
            found[line] = "" if line in found else piece
    return found


def _class_line(piece: str) -> str:
    """The line that names a class, empty for a piece that is none."""
    line = _DEFINES.search(piece) if piece.startswith(("@", "class ")) else None
    return line.group() if line and line.group().startswith("class ") else ""


def _members(pieces: Iterable[str], classes: Mapping[str, str], others: Mapping[str, str]) -> Iterator[Member]:
    """What these pieces define: class and text of methods, no class and the whole text of a function.

    `classes` are those of the pieces, `others` of the other version: what a class begins and ends with in both is left out.
    """
    for piece in pieces:
        if line := _class_line(piece):
            yield from _methods(piece, others.get(line, "") if classes[line] else "")
        elif _DEFINES.match(piece) or piece.startswith("@"):
            yield "", piece


def _methods(piece: str, other: str) -> Iterator[Member]:
    """The methods of a class that the same class in the other version does not begin and end with too."""
    indent = min(_MEMBER.findall(piece), key=len, default="")
    if not indent:
        return
    cut = _method_cut(indent)
    first = next((match.end() for match in cut.finditer(piece) if not _open_quotes(piece[: match.end()])), len(piece))
    name = _class_of(f"{piece[:first]}{indent}pass\n", indent)
    if not name:
        raise _UnclearError
    yield from ((name, part) for part in _middles(piece, other, cut)[0] if _METHOD.match(part))


def _middles(before: str, after: str, cut: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """The pieces of both, without those that both begin and end with; raises `_UnclearError`."""
    most = min(len(before), len(after))
    same = _beginning(before, after, most)
    end = len(after) - _ending(before, after, most - same)
    start = _last_cut(after, same, cut)
    while True:
        following = cut.search(after, end)
        end = following.end() if following else len(after)
        old = _cut(before, start, end - len(after) + len(before), cut)
        new = _cut(after, start, end, cut)
        if old is not None and new is not None:
            return old, new
        if following is None:
            raise _UnclearError


def _beginning(left: str, right: str, most: int) -> int:
    """How many characters both begin with, `most` at most; by halves, since comparing slices is far faster than one by one."""
    low = 0
    while low < most:
        middle = (low + most + 1) // 2
        low, most = (middle, most) if left[low:middle] == right[low:middle] else (low, middle - 1)
    return low


def _ending(left: str, right: str, most: int) -> int:
    """How many characters both end with, `most` at most."""
    low, ends = 0, (len(left), len(right))
    while low < most:
        middle = (low + most + 1) // 2
        alike = left[ends[0] - middle : ends[0] - low] == right[ends[1] - middle : ends[1] - low]
        low, most = (middle, most) if alike else (low, middle - 1)
    return low


def _last_cut(text: str, end: int, cut: re.Pattern[str]) -> int:
    """The last place before `end` where a piece begins that no decorator belongs to, and that is not inside a string."""
    size = _WINDOW
    while True:
        first = max(0, end - size)
        places = [match.end() for match in cut.finditer(text, first, end)]
        for previous, place in reversed(list(pairwise([0, *places] if first == 0 else places))):
            if not _DECORATOR.match(text, previous) and not _open_quotes(text[:place]):
                return place
        if first == 0:
            return 0
        size *= 8


def _cut(text: str, start: int, end: int, cut: re.Pattern[str]) -> list[str] | None:
    """The text between two places in pieces; `None` when it ends inside a string of several lines or behind a decorator.

    Decorators stay with what they decorate, and no piece ends inside a string.
    """
    pieces: list[str] = []
    first, quotes = start, ""
    places = [match.end() for match in cut.finditer(text, start, min(len(text), end + _LOOK))]
    for place, stop in pairwise([start, *(place for place in places if start < place < end), end]):
        if quotes and quotes not in text[place:stop]:
            continue
        piece = text[first:stop]
        quotes = _open_quotes(piece)
        if piece and not quotes and (not _DECORATOR.match(piece) or _DEFINES.search(piece)):
            pieces.append(piece)
            first = stop
    return pieces if first == end else None


def _open_quotes(piece: str) -> str:
    """The quotes of the string of several lines that goes on where a piece ends, empty when none does."""
    if piece.count('"""') % 2 == 0 and piece.count("'''") % 2 == 0:
        return ""
    quotes = ""
    for match in _QUOTED.finditer(piece):
        quotes = match.group("open")
    return quotes or ""


@lru_cache(maxsize=2048)
def _parsed(text: str, class_name: str = "") -> tuple[tuple[str, str], ...] | None:
    """Names and sources of the functions of a source, or of lines out of a class's body; `None` when it does not parse.

    Remembered: what a commit makes of a function is what the next one finds.
    """
    source = _BLOCK + text if class_name else text
    own = f"{class_name}." if class_name else ""
    try:
        if (alone := _alone(text)) and symtable(source, "?", "exec"):
            name, function = alone
            return ((own + name, function),)
    except _BAD:
        pass  # the parser says what it is; a table of symbols is refused for more
    try:
        body = ast.parse(source).body
    except _BAD as error:
        if isinstance(error, SyntaxError) and error.msg.startswith(_OLD):
            raise _OldError from error
        return None
    if class_name:
        # What follows a class without being cut off, such as an assignment, comes after the block.
        if not isinstance(body[0], ast.If) or body[0].orelse:
            return None
        body = body[0].body
    lines, shift = text.split("\n"), 1 if class_name else 0
    found: list[tuple[str, str]] = []
    for node in body:
        if isinstance(node, FunctionNode):
            found.append((own + node.name, _source(node, lines, shift)))
        elif isinstance(node, ast.ClassDef) and not class_name:
            found += [(f"{node.name}.{inner.name}", _source(inner, lines, 0)) for inner in node.body if isinstance(inner, FunctionNode)]
    return tuple(found)


def _alone(text: str) -> tuple[str, str] | None:
    """Name and source of the one function that a text consists of if it parses; `None` where more may be in it.

    A statement behind the function would begin a line that is no deeper than its own, with what can begin a statement.
    """
    head = _FUNCTION.match(text)
    if head is None or "\f" in text or _level(len(head.group(1))).search(text, head.end()):
        return None
    end = len(text)
    while True:
        start = text.rfind("\n", 0, end) + 1
        line = text[start:end].strip()
        if line and not line.startswith("#"):
            return head.group(2), text[: end + 1]
        if "'" in line or '"' in line:
            return None  # the end of a string may look like a comment
        end = start - 1


@lru_cache
def _method_cut(indent: str) -> re.Pattern[str]:
    """What finds the methods of a class whose body stands at `indent`."""
    return re.compile(rf"\n(?={indent}(?:def |async def |@))")


@lru_cache
def _level(indent: int) -> re.Pattern[str]:
    """What finds a statement that is no deeper than `indent` spaces: a line there that is neither empty, a comment nor a bracket's end."""
    return re.compile(rf"\n {{0,{indent}}}(?=[^\s#)\]}}])")


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
