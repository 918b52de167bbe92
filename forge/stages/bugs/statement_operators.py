"""Slips with whole statements that real code offers beyond the core ones (compared with SWE-smith, mutmut and cosmic-ray)."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from itertools import pairwise, zip_longest

from forge.stages.bugs.splices import Finder, Splice, Text

_EXCEPTIONS = {
    "KeyError": "IndexError",
    "IndexError": "KeyError",
    "ValueError": "TypeError",
    "TypeError": "ValueError",
    "AttributeError": "KeyError",
    "StopIteration": "ValueError",
    "OSError": "ValueError",
    "LookupError": "ValueError",
    "NotImplementedError": "RuntimeError",
    "RuntimeError": "ValueError",
    "ZeroDivisionError": "ValueError",
    "ImportError": "AttributeError",
}


def _exceptions(node: ast.AST, text: Text) -> Iterator[Splice]:
    """Another type of exception raised or caught."""
    types: list[ast.expr | None] = []
    if isinstance(node, ast.ExceptHandler):
        types = list(node.type.elts) if isinstance(node.type, ast.Tuple) else [node.type]
    elif isinstance(node, ast.Raise):
        types = [node.exc.func if isinstance(node.exc, ast.Call) else node.exc]
    for name in types:
        if isinstance(name, ast.Name) and name.id in _EXCEPTIONS:
            start, end = text.span(name)
            yield Splice(operator="exception-type", start=start, end=end, text=_EXCEPTIONS[name.id])


def _branches(node: ast.AST, text: Text) -> Iterator[Splice]:
    """An `else` forgotten, or what it and the `if` do swapped."""
    if not isinstance(node, ast.If | ast.For | ast.While) or not node.orelse:
        return
    body_end, else_end = text.span(node.body[-1])[1], text.span(node.orelse[-1])[1]
    yield Splice(operator="else-lost", start=body_end, end=else_end, text="")
    is_elif = isinstance(node.orelse[0], ast.If) and text.source.startswith("elif", text.span(node.orelse[0])[0])
    if isinstance(node, ast.If) and not is_elif:
        start, else_start = text.span(node.body[0])[0], text.span(node.orelse[0])[0]
        between = text.source[body_end:else_start]
        if "#" not in between:
            swapped = text.source[else_start:else_end] + between + text.source[start:body_end]
            yield Splice(operator="branches-swapped", start=start, end=else_end, text=swapped)


def _blocks(node: ast.AST, text: Text) -> Iterator[Splice]:
    """A statement of a block forgotten with its lines, two neighbours in the wrong order, a `return` inside the loop before it."""
    for block in _blocks_of(node):
        for statement in block if len(block) > 1 else ():
            lines = text.whole_lines(statement)
            if lines and (operator := _lost(statement)):
                yield Splice(operator=operator, start=lines[0], end=lines[1], text="")
        for first, second in pairwise(block):
            yield from _disordered(first, second, text)
            if isinstance(first, ast.For | ast.While) and isinstance(second, ast.Return) and second.lineno == second.end_lineno:
                start = text.span(second)[0]
                deeper = " " * (first.body[-1].col_offset - second.col_offset)
                if deeper and first.body[-1].lineno > first.lineno:
                    yield Splice(operator="return-in-loop", start=start, end=start, text=deeper)


def _decorators(node: ast.AST, text: Text) -> Iterator[Splice]:
    """A decorator forgotten."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    for decorator, following in zip_longest(node.decorator_list, node.decorator_list[1:]):
        start = text.span(decorator)[0] - 1
        end = text.span(following)[0] - 1 if following else text.span(node)[0]
        if text.source[start : start + 1] == "@" and "#" not in text.source[start:end]:
            yield Splice(operator="decorator-lost", start=start, end=end, text="")


def _lost(statement: ast.stmt) -> str:
    """The operator that forgets this statement, empty for those that no one loses."""
    if isinstance(statement, ast.If) and not statement.orelse:
        return "guard-lost"
    if isinstance(statement, ast.Raise):
        return "raise-lost"
    if isinstance(statement, ast.For | ast.While):
        return "loop-lost"
    if isinstance(statement, ast.Assign | ast.AugAssign | ast.Delete):
        return "line-lost"
    return "line-lost" if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call | ast.Await | ast.Yield) else ""


def _disordered(first: ast.stmt, second: ast.stmt, text: Text) -> Iterator[Splice]:
    simple = (ast.Assign, ast.AugAssign, ast.Expr)
    upper, lower = text.whole_lines(first), text.whole_lines(second)
    if isinstance(first, simple) and isinstance(second, simple) and not _is_text(first) and upper and lower and upper[1] == lower[0]:
        swapped = text.source[lower[0] : lower[1]] + text.source[upper[0] : upper[1]]
        yield Splice(operator="lines-swapped", start=upper[0], end=lower[1], text=swapped)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _blocks_of(node: ast.AST) -> Iterator[Sequence[ast.stmt]]:
    if isinstance(node, ast.Module | ast.ClassDef):
        return
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list):
            yield block


STATEMENTS: tuple[Finder, ...] = (_exceptions, _branches, _blocks, _decorators)
