"""Symbols of sources: functions and methods with their exact text. Python's by its own parser, those of other languages by tree-sitter."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from forge.records import Symbol
from forge.stages.source import tree_symbols
from forge.stages.source.languages import language_of
from forge.stages.source.place import Place

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

_ODD_BREAK = re.compile("[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
"""What ends a line for `splitlines` and not for the parser."""


_TESTS = re.compile(r"(^|/)(__tests__|__mocks__|spec|testdata)/|[._-](test|tests|spec)\.\w+$|[a-z](Test|Tests|Spec)\.(java|cs|php)$")
"""Tests of other languages than Python."""


def symbols_of(path: str, source: str) -> list[Symbol]:
    """The functions of one file, in order. Python's: top-level functions and methods of top-level classes, none when it does not parse."""
    lines = source_lines(path, source)
    if language := foreign(path):
        return [_named(path, place, signature, lines) for place, signature in tree_symbols.functions_of(language, source)]
    return [_symbol(path, _place(name, node), node, lines) for name, node in _functions(source)]


def places_of(path: str, source: str) -> list[Place]:
    """Where the symbols of one file are, in the order of `symbols_of`, at half its time."""
    if language := foreign(path):
        return [place for place, _ in tree_symbols.functions_of(language, source)]
    return [_place(name, node) for name, node in _functions(source)]


def source_lines(path: str, source: str) -> list[str]:
    """The lines of a file with their ends, as the places of its symbols count them."""
    return source.splitlines(keepends=True) if foreign(path) is None else [f"{line}\n" for line in source.split("\n")]


@lru_cache(maxsize=8192)
def symbol_at(path: str, source: str, places: tuple[Place, ...], number: int) -> Symbol:
    """`symbols_of(path, source)[number]`, found by parsing no more than its lines; `places` are those of the file."""
    if foreign(path):
        return symbols_of(path, source)[number]
    place = places[number]
    lines = source.splitlines(keepends=True)
    node = None if _ODD_BREAK.search(source) else _alone("".join(lines[place.first - 1 : place.last]), place)
    return symbols_of(path, source)[number] if node is None else _symbol(path, place, node, lines)


def symbols_in(files: Mapping[str, str], *, tests: bool = False) -> list[Symbol]:
    """Symbols of every file in a tree, by path; test files only when asked for."""
    paths = [path for path in sorted(files) if language_of(path) and (tests or not is_test_path(path))]
    return [symbol for path in paths for symbol in symbols_of(path, files[path])]


def is_test_path(path: str) -> bool:
    """Whether the conventions of pytest, or of a file's own language, call this a test or its configuration."""
    parts = path.split("/")
    name = parts[-1]
    if name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py" or {"tests", "test"} & set(parts[:-1]):
        return True
    return not name.endswith(".py") and bool(_TESTS.search(path))


def foreign(path: str) -> str | None:
    """The language of a file that Python's parser does not read; what has no ending that says otherwise is Python."""
    language = language_of(path)
    return None if language == "python" else language


def _functions(source: str) -> Iterator[tuple[str, FunctionNode]]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in tree.body:
        if isinstance(node, FunctionNode):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, FunctionNode):
                    yield f"{node.name}.{member.name}", member


def _alone(text: str, place: Place) -> FunctionNode | None:
    """The function that these whole lines are; `None` when they are not one function of that name."""
    try:
        body = ast.parse(f"if 1:\n{text}" if text[:1] in " \t" else text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if len(body) == 1 and isinstance(body[0], ast.If):
        body = body[0].body
    found = body[0] if len(body) == 1 else None
    return found if isinstance(found, FunctionNode) and found.name == place.name.split(".")[-1] else None


def _place(name: str, node: FunctionNode) -> Place:
    return Place(name, min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]), node.end_lineno or node.lineno)


def _symbol(path: str, place: Place, node: FunctionNode, lines: list[str]) -> Symbol:
    return _named(path, place, f"{place.name}({ast.unparse(node.args)})", lines)


def _named(path: str, place: Place, signature: str, lines: list[str]) -> Symbol:
    name, first, last = place
    return Symbol(path=path, name=name, signature=signature, source="".join(lines[first - 1 : last]), first_line=first, last_line=last)
