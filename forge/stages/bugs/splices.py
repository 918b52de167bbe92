"""Where a bug goes: a splice of source text, and positions of syntax nodes as offsets into it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from forge.records import Record


class Splice(Record):
    """Replace `start` to `end` (character offsets) by `text`; `operator` names the kind of slip."""

    operator: str
    start: int
    end: int
    text: str


class Text:
    """Source with offsets of AST positions (which count UTF-8 bytes within a line)."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._lines = source.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    def at(self, line: int, column: int) -> int:
        prefix = self._lines[line - 1].encode()[:column].decode()
        return self._starts[line - 1] + len(prefix)

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        return self.at(node.lineno, node.col_offset), self.at(node.end_lineno or node.lineno, node.end_col_offset or 0)

    def between(self, left: ast.expr, right: ast.expr, token: str) -> tuple[int, int] | None:
        """Where `token` stands between two expressions."""
        low, high = self.span(left)[1], self.span(right)[0]
        place = self.source.find(token, low, high)
        return (place, place + len(token)) if place >= 0 else None

    def of(self, node: ast.expr | ast.stmt) -> str:
        """The node's own source text."""
        start, end = self.span(node)
        return self.source[start:end]

    def whole_lines(self, node: ast.stmt) -> tuple[int, int] | None:
        """The span of a statement's lines, line ends included; `None` when it shares them with others."""
        first, last = node.lineno, node.end_lineno or node.lineno
        start, end = self._starts[first - 1], self._starts[last]
        own_start, own_end = self.span(node)
        alone = not self.source[start:own_start].strip() and self.source[own_end:end].strip()[:1] in ("", "#")
        return (start, end) if alone else None


Finder = Callable[[ast.AST, Text], Iterator[Splice]]
"""Looks at one node and yields what may be done to it."""
