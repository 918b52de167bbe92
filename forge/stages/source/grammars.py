"""Tree-sitter grammars and where functions are in their trees. The parsers come with their wheels; nothing is downloaded.

A grammar is imported when a file of its language is met.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import NamedTuple

from tree_sitter import Language, Parser, Query


class Grammar(NamedTuple):
    """A language's parser, what finds its functions, and the kinds of nodes whose names come before theirs."""

    parser: Parser
    functions: Query
    owners: frozenset[str]


class _Source(NamedTuple):
    package: str
    """What follows `tree_sitter_` in its name, and its function where that is not `language`."""
    functions: tuple[str, ...]
    """Kinds of nodes, with conditions as tree-sitter's queries have them."""
    owners: tuple[str, ...]


_CLASSES = ("class_declaration", "interface_declaration", "enum_declaration", "record_declaration")
_SCRIPT = (
    "function_declaration",
    "generator_function_declaration",
    "method_definition",
    "variable_declarator value: [(arrow_function) (function_expression)]",
)
_SOURCES = {
    "python": _Source("python", ("function_definition",), ("class_definition",)),
    "javascript": _Source("javascript", _SCRIPT, _CLASSES),
    "typescript": _Source("typescript:language_typescript", _SCRIPT, (*_CLASSES, "abstract_class_declaration", "module")),
    "tsx": _Source("typescript:language_tsx", _SCRIPT, (*_CLASSES, "abstract_class_declaration", "module")),
    "go": _Source("go", ("function_declaration", "method_declaration"), ()),
    "rust": _Source("rust", ("function_item",), ("impl_item", "trait_item", "mod_item")),
    "java": _Source("java", ("method_declaration", "constructor_declaration"), _CLASSES),
    "c": _Source("c", ("function_definition",), ()),
    "cpp": _Source("cpp", ("function_definition",), ("class_specifier", "struct_specifier", "namespace_definition")),
    "ruby": _Source("ruby", ("method", "singleton_method"), ("class", "module")),
    "php": _Source("php:language_php", ("function_definition", "method_declaration"), (*_CLASSES, "trait_declaration")),
    "csharp": _Source(
        "c_sharp",
        ("method_declaration", "constructor_declaration", "local_function_statement"),
        (*_CLASSES, "struct_declaration", "namespace_declaration"),
    ),
}


WITH_FUNCTIONS = frozenset(_SOURCES)
"""Languages whose functions are known."""


@cache
def grammar(language: str) -> Grammar | None:
    """The grammar of a language, made once; `None` for one whose functions are not looked at."""
    source = _SOURCES.get(language)
    if source is None:
        return None
    package, _, function = source.package.partition(":")
    made = Language(getattr(import_module(f"tree_sitter_{package}"), function or "language")())
    query = Query(made, "\n".join(f"({kind}) @function" for kind in source.functions))
    return Grammar(Parser(made), query, frozenset(source.owners))
