"""Which functions a file's change touches, by tree-sitter: sources that do not parse give what can be made out."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from tree_sitter import Point, QueryCursor, Tree

from forge.mining.python_functions import Change
from forge.records import FileChange
from forge.stages.source.grammars import Grammar, grammar
from forge.stages.source.nodes import lines_of, name_of, whole

_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)
_NEWLINE = 10
_LAST_LINE = 2**31 - 2
REMEMBERED = 256
"""Files whose last version is kept, parsed: newest first, it is the one that the next older commit has made of it."""
NEAR = 20
"""Changed lines that are no farther apart are looked at together."""

Lines = list[tuple[int, int]]
"""Ranges of 0-based lines, both ends included."""


class Trees:
    """Finds changed functions, commit after commit; keeps the last versions of files as they were parsed."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, _Version] = OrderedDict()

    def changed(self, file: FileChange, language: str) -> Iterator[Change]:
        """Name, source before and after of each function that the file differs in, in the order of its lines, removed ones last."""
        known = grammar(language)
        if known is None:
            return
        runs = _runs(file.diff)
        new = self._version(known, language, file.path, file.after)
        old = self._version(known, language, file.old_path or file.path, file.before, runs)
        before = old.functions(_near((run.old, run.old_count) for run in runs)) if runs else old.everywhere
        after = new.functions(_near((run.new, run.new_count) for run in runs)) if runs else new.everywhere
        # A function that one side alone shows as touched may be there on the other, unchanged or elsewhere.
        for name, source in after.items():
            was = before[name] if name in before else old.anywhere(name)
            if was != source:
                yield name, was, source
        for name, source in before.items():
            if name not in after and new.anywhere(name) is None:
                yield name, source, None

    def _version(self, known: Grammar, language: str, path: str, text: str | None, runs: Sequence[_Run] = ()) -> _Version:
        """A version of a file: the one that was looked at last, or grown from it, since most of a file stays as it is.

        `runs` say how the last one differs from this, where that is known.
        """
        if not text:
            return _Version(known, language, b"", None)
        source = text.encode("utf-8", "surrogatepass")
        last = self._last.pop(path, None)
        if last is None or last.source != source or last.language != language:
            last = _Version(known, language, source, _parsed(known, source, last if last and last.language == language else None, runs))
        self._last[path] = last
        if len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        return last


def _parsed(known: Grammar, source: bytes, near: _Version | None, runs: Sequence[_Run]) -> Tree:
    if near is None or near.tree is None:
        return known.parser.parse(source)
    grown = near.tree.copy()
    if runs:
        _edit_runs(grown, near.source, source, runs)
    else:
        _edit(grown, near.source, source)
    return known.parser.parse(source, grown)


class _Version:
    """One version of a file, parsed; `tree` is `None` where there is no such file."""

    def __init__(self, known: Grammar, language: str, source: bytes, tree: Tree | None) -> None:
        self._known, self.language = known, language
        self.source = source
        self.tree = tree

    @cached_property
    def everywhere(self) -> dict[str, str]:
        """All of its functions."""
        return self.functions([(0, _LAST_LINE)])

    def anywhere(self, name: str) -> str | None:
        """The source of a function wherever it stands; a name that the text does not have is not looked for."""
        return self.everywhere.get(name) if name.rpartition(".")[2].encode() in self.source else None

    def functions(self, lines: Lines) -> dict[str, str]:
        """Sources by name of the functions that these lines touch; of several with one name the first."""
        found: dict[str, str] = {}
        for first, last in lines if self.tree is not None else ():
            cursor = QueryCursor(self._known.functions)
            cursor.set_point_range(Point(first, 0), Point(last + 1, 0))
            assert self.tree is not None
            nodes = cursor.captures(self.tree.root_node).get("function", [])
            for node in sorted(nodes, key=lambda node: node.start_byte):
                if name := name_of(node, self._known, self.language):
                    found.setdefault(name, lines_of(self.source, whole(node)))
        return found


def _edit(tree: Tree, old: bytes, new: bytes) -> None:
    """Tell a tree which part of its source is another now: all between what both versions begin and end with."""
    start = _common(old, new)
    end = min(_common(old[::-1], new[::-1]), len(old) - start, len(new) - start)
    tree.edit(
        start_byte=start,
        old_end_byte=len(old) - end,
        new_end_byte=len(new) - end,
        start_point=_point(old, start),
        old_end_point=_point(old, len(old) - end),
        new_end_point=_point(new, len(new) - end),
    )


def _edit_runs(tree: Tree, new: bytes, old: bytes, runs: Sequence[_Run]) -> None:
    """Take a commit back in a tree of the source after it: run by run from below, so that places above stay where they are."""
    new_starts, old_starts = _line_starts(new), _line_starts(old)
    for run in reversed(runs):
        start, end = new_starts[run.new], new_starts[run.new + run.new_count]
        size = old_starts[run.old + run.old_count] - old_starts[run.old]
        tree.edit(
            start_byte=start,
            old_end_byte=end,
            new_end_byte=start + size,
            start_point=Point(run.new, 0),
            old_end_point=Point(run.new + run.new_count, 0),
            new_end_point=Point(run.new + run.old_count, 0),
        )


def _line_starts(source: bytes) -> list[int]:
    """Where each line begins, and twice where the source ends: a last line may lack its end."""
    return [0, *(np.flatnonzero(np.frombuffer(source, np.uint8) == _NEWLINE) + 1).tolist(), len(source)]


def _common(left: bytes, right: bytes) -> int:
    """How many bytes two sources begin with alike; by halves, since comparing slices is much faster than bytes one by one."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _point(source: bytes, at: int) -> Point:
    return Point(source.count(b"\n", 0, at), at - source.rfind(b"\n", 0, at) - 1)


class _Run(NamedTuple):
    """Lines next to each other that a commit replaces: first line and number of lines, 0-based, before and after it."""

    old: int
    old_count: int
    new: int
    new_count: int


def _runs(diff: str) -> list[_Run]:
    """Every run of a file's diff, without context, top down."""
    runs: list[_Run] = []
    at = to = 0
    for line in diff[max(0, diff.find("\n@@ ")) :].split("\n"):
        sign = line[:1]
        if sign == "@" and (match := _HUNK.match(line)):
            at, to = int(match.group(1)) - 1, int(match.group(3)) - 1
            at, to = at + (match.group(2) == "0"), to + (match.group(4) == "0")
        elif sign in ("-", "+"):
            last = runs[-1] if runs else None
            if last is None or (last.old + last.old_count, last.new + last.new_count) != (at, to):
                last = _Run(at, 0, to, 0)
                runs.append(last)
            runs[-1] = last._replace(old_count=last.old_count + (sign == "-"), new_count=last.new_count + (sign == "+"))
            at, to = at + (sign == "-"), to + (sign == "+")
        elif sign == " ":
            at, to = at + 1, to + 1
    return runs


def _near(places: Iterable[tuple[int, int]]) -> Lines:
    """Ranges of lines from first lines and counts, those close together made one; nothing counts as the line that it stood before."""
    lines: Lines = []
    for first, count in places:
        last = first + max(0, count - 1)
        first = max(0, first - (count == 0))
        if lines and first <= lines[-1][1] + NEAR:
            lines[-1] = lines[-1][0], max(last, lines[-1][1])
        else:
            lines.append((first, last))
    return lines
