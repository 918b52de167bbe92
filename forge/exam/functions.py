"""The test functions of a test file, by qualified name."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator

TestNode = ast.FunctionDef | ast.AsyncFunctionDef


def parse(text: str) -> ast.Module | None:
    """The tree of a file, `None` when it does not parse."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def functions_of(tree: ast.Module | None) -> Iterator[tuple[str, TestNode]]:
    """(qualified name, node) of every top-level function and method, in order."""
    for node in tree.body if tree else []:
        if isinstance(node, TestNode):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, TestNode):
                    yield f"{node.name}.{member.name}", member


def unique_functions(text: str) -> dict[str, TestNode]:
    """Those functions whose qualified name is defined once: of two, pytest runs the second only."""
    found = list(functions_of(parse(text)))
    count = Counter(name for name, _ in found)
    return {name: node for name, node in found if count[name] == 1}


def span(node: ast.stmt) -> tuple[int, int]:
    """First and last line of a statement, decorators included, from 1."""
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)]), node.end_lineno or node.lineno


def split_id(id_: str) -> tuple[str, str, str]:
    """(path, qualified name, parameters with their brackets) of a node id."""
    plain, bracket, rest = id_.partition("[")
    path, *parts = plain.split("::")
    return path, ".".join(parts), bracket + rest


def join_id(path: str, name: str, parameters: str) -> str:
    """The node id that `split_id` takes apart."""
    return "::".join([path, *name.split(".")]) + parameters


def ids_by_function(ids: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """(path, qualified name) → its ids, both in the order in which they come."""
    found: dict[tuple[str, str], list[str]] = {}
    for id_ in ids:
        path, name, _ = split_id(id_)
        found.setdefault((path, name), []).append(id_)
    return found
