"""Tree-sitter grammars and where functions are in their trees. The parsers come with their wheels; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import tree_sitter_c
import tree_sitter_c_sharp
import tree_sitter_cpp
import tree_sitter_go
import tree_sitter_java
import tree_sitter_javascript
import tree_sitter_php
import tree_sitter_python
import tree_sitter_ruby
import tree_sitter_rust
import tree_sitter_typescript
from tree_sitter import Language, Parser, Query


class Grammar(NamedTuple):
    """A language's parser, what finds its functions, and the kinds of nodes whose names come before theirs."""

    parser: Parser
    functions: Query
    owners: frozenset[str]


class _Source(NamedTuple):
    language: Callable[[], object]
    functions: tuple[str, ...]
    owners: tuple[str, ...]


_CLASSES = ("class_declaration", "interface_declaration", "enum_declaration", "record_declaration")
_SCRIPT = ("function_declaration", "generator_function_declaration", "method_definition")
_SOURCES = {
    "python": _Source(tree_sitter_python.language, ("function_definition",), ("class_definition",)),
    "javascript": _Source(tree_sitter_javascript.language, _SCRIPT, _CLASSES),
    "typescript": _Source(tree_sitter_typescript.language_typescript, _SCRIPT, (*_CLASSES, "abstract_class_declaration", "module")),
    "tsx": _Source(tree_sitter_typescript.language_tsx, _SCRIPT, (*_CLASSES, "abstract_class_declaration", "module")),
    "go": _Source(tree_sitter_go.language, ("function_declaration", "method_declaration"), ()),
    "rust": _Source(tree_sitter_rust.language, ("function_item",), ("impl_item", "trait_item", "mod_item")),
    "java": _Source(tree_sitter_java.language, ("method_declaration", "constructor_declaration"), _CLASSES),
    "c": _Source(tree_sitter_c.language, ("function_definition",), ()),
    "cpp": _Source(tree_sitter_cpp.language, ("function_definition",), ("class_specifier", "struct_specifier", "namespace_definition")),
    "ruby": _Source(tree_sitter_ruby.language, ("method", "singleton_method"), ("class", "module")),
    "php": _Source(tree_sitter_php.language_php, ("function_definition", "method_declaration"), (*_CLASSES, "trait_declaration")),
    "csharp": _Source(
        tree_sitter_c_sharp.language,
        ("method_declaration", "constructor_declaration", "local_function_statement"),
        (*_CLASSES, "struct_declaration", "namespace_declaration"),
    ),
}


@cache
def grammar(language: str) -> Grammar | None:
    """The grammar of a language, made once; `None` for one whose functions are not looked at."""
    source = _SOURCES.get(language)
    if source is None:
        return None
    made = Language(source.language())
    query = Query(made, "\n".join(f"({kind}) @function" for kind in source.functions))
    return Grammar(Parser(made), query, frozenset(source.owners))
