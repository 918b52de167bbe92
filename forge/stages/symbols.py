"""Symbols of Python sources: functions and methods with their exact text."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from forge.records import Symbol

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def symbols_of(path: str, source: str) -> list[Symbol]:
    """Top-level functions and methods of one file, in order; none when it does not parse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    lines = source.splitlines(keepends=True)
    return [_symbol(path, name, node, lines) for name, node in _functions(tree)]


def symbols_in(files: Mapping[str, str], *, tests: bool = False) -> list[Symbol]:
    """Symbols of every Python file in a tree, by path; test files only when asked for."""
    paths = [path for path in sorted(files) if path.endswith(".py") and (tests or not is_test_path(path))]
    return [symbol for path in paths for symbol in symbols_of(path, files[path])]


def is_test_path(path: str) -> bool:
    """Whether pytest's conventions call this a test or its configuration."""
    parts = path.split("/")
    name = parts[-1]
    return name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py" or bool({"tests", "test"} & set(parts[:-1]))


def _functions(tree: ast.Module) -> Iterator[tuple[str, FunctionNode]]:
    for node in tree.body:
        if isinstance(node, FunctionNode):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, FunctionNode):
                    yield f"{node.name}.{member.name}", member


def _symbol(path: str, name: str, node: FunctionNode, lines: list[str]) -> Symbol:
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    last = node.end_lineno or node.lineno
    signature = f"{name}({ast.unparse(node.args)})"
    return Symbol(path=path, name=name, signature=signature, source="".join(lines[first - 1 : last]), first_line=first, last_line=last)
