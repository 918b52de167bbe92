"""The operators that the practice repositories' histories and the shipped base are made with.

They and their order are part of what a seed means: a change here is another history. New ones go into
`expression_operators` and `statement_operators`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from forge.stages.bugs.splices import Finder, Splice, Text

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


def _comparison(node: ast.AST, text: Text) -> Iterator[Splice]:
    if not isinstance(node, ast.Compare):
        return
    operands = [node.left, *node.comparators]
    for operator, left, right in zip(node.ops, operands, operands[1:], strict=False):
        token = _COMPARISONS.get(type(operator))
        place = text.between(left, right, token) if token else None
        if token and place:
            yield Splice(operator="comparison-boundary", start=place[0], end=place[1], text=_BOUNDARY[token])
            if token in _DIRECTION:
                yield Splice(operator="comparison-direction", start=place[0], end=place[1], text=_DIRECTION[token])


def _arithmetic(node: ast.AST, text: Text) -> Iterator[Splice]:
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        token, wrong = _ARITHMETIC[type(node.op)]
        place = text.between(node.left, node.right, token)
        if place:
            yield Splice(operator="arithmetic", start=place[0], end=place[1], text=wrong)
    if isinstance(node, ast.AugAssign) and type(node.op) in _ARITHMETIC:
        token, wrong = _ARITHMETIC[type(node.op)]
        place = text.between(node.target, node.value, token + "=")
        if place:
            yield Splice(operator="augmented", start=place[0], end=place[1], text=wrong + "=")
            yield Splice(operator="accumulate-lost", start=place[0], end=place[1], text="=")


def _number(node: ast.AST, text: Text) -> Iterator[Splice]:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        start, end = text.span(node)
        for wrong in (node.value + 1, node.value - 1):
            if wrong >= 0:
                yield Splice(operator="off-by-one", start=start, end=end, text=str(wrong))
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        start, end = text.span(node)
        yield Splice(operator="boolean", start=start, end=end, text=str(not node.value))


def _logic(node: ast.AST, text: Text) -> Iterator[Splice]:
    if isinstance(node, ast.BoolOp):
        token, wrong = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        place = text.between(node.values[0], node.values[1], token)
        if place:
            yield Splice(operator="and-or", start=place[0], end=place[1], text=wrong)
    if isinstance(node, (ast.If, ast.IfExp, ast.While)):
        start, end = text.span(node.test)
        if isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not):
            operand = text.span(node.test.operand)
            yield Splice(operator="negation", start=start, end=end, text=text.source[operand[0] : operand[1]])
        elif isinstance(node.test, (ast.Name, ast.Call, ast.Attribute)):
            yield Splice(operator="negation", start=start, end=end, text="not " + text.source[start:end])


def _names(node: ast.AST, text: Text) -> Iterator[Splice]:
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return
    bound = {argument.arg for argument in node.args.args}
    stored = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for name in (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)):
        if name.id in bound | stored:
            start, end = text.span(name)
            for other in sorted((bound | stored) - {name.id}):
                yield Splice(operator="wrong-name", start=start, end=end, text=other)


def _calls(node: ast.AST, text: Text) -> Iterator[Splice]:
    if not isinstance(node, ast.Call):
        return
    name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if name in _CALLS:
        end = text.span(node.func)[1]
        yield Splice(operator="wrong-call", start=end - len(name), end=end, text=_CALLS[name])
    if name == "range" and node.args:
        start, end = text.span(node.args[-1])
        shown = text.source[start:end]
        yield Splice(operator="range-end", start=start, end=end, text=shown[:-4] if shown.endswith(" + 1") else f"{shown} - 1")
        if len(node.args) == 1:
            yield Splice(operator="range-start", start=start, end=end, text=f"1, {shown}")


def _indexing(node: ast.AST, text: Text) -> Iterator[Splice]:
    if not isinstance(node, ast.Subscript):
        return
    start, end = text.span(node.slice)
    shown = text.source[start:end]
    if shown in ("0", "-1"):
        yield Splice(operator="wrong-end", start=start, end=end, text="-1" if shown == "0" else "0")
    if isinstance(node.slice, ast.Slice) and shown.count(":") == 1:
        low, high = shown.split(":")
        yield Splice(operator="slice-swap", start=start, end=end, text=f"{high.strip()}:{low.strip()}")


def _statements(node: ast.AST, text: Text) -> Iterator[Splice]:
    if isinstance(node, (ast.Break, ast.Continue)):
        start, end = text.span(node)
        yield Splice(operator="loop-control", start=start, end=end, text="continue" if isinstance(node, ast.Break) else "break")
    if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        start, end = text.span(node.value)
        yield Splice(operator="return-none", start=start, end=end, text="None")
    if isinstance(node, (ast.Assign, ast.AugAssign)) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        start, end = text.span(node)
        yield Splice(operator="statement-lost", start=start, end=end, text="pass")


CORE: tuple[Finder, ...] = (_comparison, _arithmetic, _number, _logic, _names, _calls, _indexing, _statements)
