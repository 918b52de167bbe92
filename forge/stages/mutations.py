"""Plausible bugs: small edits of a function's source that keep its formatting.

The standard library's `ast` finds the places, splicing by offset changes only the tokens concerned (SWE-smith's
procedural bugs, arXiv 2504.21798). Tasks inject them, review learns from them what wrong looks like.
"""

from __future__ import annotations

import ast
import random
import textwrap
from collections.abc import Callable, Iterator

from forge.records import Record

_COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
_BOUNDARY = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
_DIRECTION = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_ARITHMETIC = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "+"), ast.FloorDiv: ("//", "%"), ast.Mod: ("%", "//")}
_CALLS = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "sorted": "list",
    "lower": "upper",
    "upper": "lower",
    "startswith": "endswith",
    "endswith": "startswith",
    "lstrip": "rstrip",
    "rstrip": "lstrip",
    "extend": "append",
    "ceil": "floor",
    "floor": "ceil",
    "sum": "max",
}


class Mutation(Record):
    """One bug: `source` is the whole new text, `line` (1-based, within it) where it differs first."""

    operator: str
    line: int
    source: str


class _Splice(Record):
    operator: str
    start: int
    end: int
    text: str


def mutations(source: str) -> list[Mutation]:
    """Every mutation of a function's (or a file's) source that still parses, in order of place; none if it does not parse."""
    body = textwrap.dedent(source)
    margin = len(source) - len(source.lstrip(" ")) if body != source else 0
    try:
        tree = ast.parse(body)
    except SyntaxError:
        return []
    text = _Text(body)
    found: dict[str, Mutation] = {}
    for finder in _FINDERS:
        for node in ast.walk(tree):
            for splice in finder(node, text):
                changed = body[: splice.start] + splice.text + body[splice.end :]
                if changed != body and _parses(changed):
                    line = body.count("\n", 0, splice.start) + 1
                    indented = textwrap.indent(changed, " " * margin) if margin else changed
                    found.setdefault(changed, Mutation(operator=splice.operator, line=line, source=indented))
    return sorted(found.values(), key=lambda m: (m.line, m.operator, m.source))


def wrong_fixes(broken: str, right: str, chance: random.Random, count: int) -> list[str]:
    """Up to `count` distinct sources that failed attempts might have made of `broken`, none of them `right`.

    Half differ at the very token that is wrong, as far as there are any, a quarter at its line, the rest elsewhere:
    what was tried in vain tells most when it is near the truth.
    """
    found = mutations(broken)
    operators = {m.operator for m in found if m.source == right}
    kept = set(right.splitlines())
    changed = {number for number, line in enumerate(broken.splitlines(), 1) if line not in kept}
    piles: list[list[Mutation]] = [[], [], []]
    for mutation in found:
        if "".join(mutation.source.split()) != "".join(right.split()):
            piles[2 if mutation.line not in changed else 0 if mutation.operator in operators else 1].append(mutation)
    attempts: list[str] = []
    while len(attempts) < count and any(piles):
        pile = chance.choices(piles, [bool(pile) * weight for pile, weight in zip(piles, (2, 1, 1), strict=True)])[0]
        operator = chance.choice(sorted({m.operator for m in pile}))
        wrong = chance.choice([m for m in pile if m.operator == operator])
        pile.remove(wrong)
        attempts.append(wrong.source)
    return attempts


class _Text:
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


def _comparison(node: ast.AST, text: _Text) -> Iterator[_Splice]:
    if not isinstance(node, ast.Compare):
        return
    operands = [node.left, *node.comparators]
    for operator, left, right in zip(node.ops, operands, operands[1:], strict=False):
        token = _COMPARISONS.get(type(operator))
        place = text.between(left, right, token) if token else None
        if token and place:
            yield _Splice(operator="comparison-boundary", start=place[0], end=place[1], text=_BOUNDARY[token])
            if token in _DIRECTION:
                yield _Splice(operator="comparison-direction", start=place[0], end=place[1], text=_DIRECTION[token])


def _arithmetic(node: ast.AST, text: _Text) -> Iterator[_Splice]:
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        token, wrong = _ARITHMETIC[type(node.op)]
        place = text.between(node.left, node.right, token)
        if place:
            yield _Splice(operator="arithmetic", start=place[0], end=place[1], text=wrong)
    if isinstance(node, ast.AugAssign) and type(node.op) in _ARITHMETIC:
        token, wrong = _ARITHMETIC[type(node.op)]
        place = text.between(node.target, node.value, token + "=")
        if place:
            yield _Splice(operator="augmented", start=place[0], end=place[1], text=wrong + "=")
            yield _Splice(operator="accumulate-lost", start=place[0], end=place[1], text="=")


def _number(node: ast.AST, text: _Text) -> Iterator[_Splice]:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        start, end = text.span(node)
        for wrong in (node.value + 1, node.value - 1):
            if wrong >= 0:
                yield _Splice(operator="off-by-one", start=start, end=end, text=str(wrong))
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        start, end = text.span(node)
        yield _Splice(operator="boolean", start=start, end=end, text=str(not node.value))


def _logic(node: ast.AST, text: _Text) -> Iterator[_Splice]:
    if isinstance(node, ast.BoolOp):
        token, wrong = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        place = text.between(node.values[0], node.values[1], token)
        if place:
            yield _Splice(operator="and-or", start=place[0], end=place[1], text=wrong)
    if isinstance(node, (ast.If, ast.IfExp, ast.While)):
        start, end = text.span(node.test)
        if isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not):
            operand = text.span(node.test.operand)
            yield _Splice(operator="negation", start=start, end=end, text=text.source[operand[0] : operand[1]])
        elif isinstance(node.test, (ast.Name, ast.Call, ast.Attribute)):
            yield _Splice(operator="negation", start=start, end=end, text="not " + text.source[start:end])


def _names(node: ast.AST, text: _Text) -> Iterator[_Splice]:
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return
    bound = {argument.arg for argument in node.args.args}
    stored = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for name in (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)):
        if name.id in bound | stored:
            start, end = text.span(name)
            for other in sorted((bound | stored) - {name.id}):
                yield _Splice(operator="wrong-name", start=start, end=end, text=other)


def _calls(node: ast.AST, text: _Text) -> Iterator[_Splice]:
    if not isinstance(node, ast.Call):
        return
    name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if name in _CALLS:
        end = text.span(node.func)[1]
        yield _Splice(operator="wrong-call", start=end - len(name), end=end, text=_CALLS[name])
    if name == "range" and node.args:
        start, end = text.span(node.args[-1])
        shown = text.source[start:end]
        yield _Splice(operator="range-end", start=start, end=end, text=shown[:-4] if shown.endswith(" + 1") else f"{shown} - 1")
        if len(node.args) == 1:
            yield _Splice(operator="range-start", start=start, end=end, text=f"1, {shown}")


def _indexing(node: ast.AST, text: _Text) -> Iterator[_Splice]:
    if not isinstance(node, ast.Subscript):
        return
    start, end = text.span(node.slice)
    shown = text.source[start:end]
    if shown in ("0", "-1"):
        yield _Splice(operator="wrong-end", start=start, end=end, text="-1" if shown == "0" else "0")
    if isinstance(node.slice, ast.Slice) and shown.count(":") == 1:
        low, high = shown.split(":")
        yield _Splice(operator="slice-swap", start=start, end=end, text=f"{high.strip()}:{low.strip()}")


def _statements(node: ast.AST, text: _Text) -> Iterator[_Splice]:
    if isinstance(node, (ast.Break, ast.Continue)):
        start, end = text.span(node)
        yield _Splice(operator="loop-control", start=start, end=end, text="continue" if isinstance(node, ast.Break) else "break")
    if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        start, end = text.span(node.value)
        yield _Splice(operator="return-none", start=start, end=end, text="None")
    if isinstance(node, (ast.Assign, ast.AugAssign)) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        start, end = text.span(node)
        yield _Splice(operator="statement-lost", start=start, end=end, text="pass")


_FINDERS: tuple[Callable[[ast.AST, _Text], Iterator[_Splice]], ...] = (
    _comparison,
    _arithmetic,
    _number,
    _logic,
    _names,
    _calls,
    _indexing,
    _statements,
)


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True
