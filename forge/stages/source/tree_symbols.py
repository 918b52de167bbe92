"""The functions of sources in other languages than Python, by tree-sitter, as the agent is shown them: in whole lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from tree_sitter import Node, Parser, QueryCursor, Tree

from forge.stages.source.grammars import grammar
from forge.stages.source.nodes import body_of, end_of, name_of, naming
from forge.stages.source.place import Place

LONGEST_LINE = 1000
"""Characters of a line; a file with a longer one was written by a program."""
LONGEST_SIGNATURE = 200
_TESTS = re.compile(r"(^|[._])tests?\.")
"""What Rust calls the modules in which a file tests itself."""


class Function(NamedTuple):
    """A function with a body."""

    place: Place
    signature: str


def functions_of(language: str, source: str) -> list[Function]:
    """The functions of a file in the order of their lines; none of a language that has no grammar here.

    A function that begins on a line of the one before it cannot be shown in whole lines and is left out; the second of a name, such
    as an overload, is told from the first by `#2`.
    """
    known = grammar(language)
    if known is None or any(len(line) > LONGEST_LINE for line in source.split("\n")):
        return []
    body = source.encode("utf-8", "surrogatepass")
    nodes = QueryCursor(known.functions).captures(parsed(language, body).root_node).get("function", [])
    found: list[Function] = []
    seen: Counter[str] = Counter()
    for node in sorted(nodes, key=lambda node: node.start_byte):
        name = name_of(node, known, language)
        first, last = node.start_point.row + 1, body.count(b"\n", 0, end_of(node)) + 1
        if name and not _TESTS.search(name) and (not found or found[-1].place.last < first) and body_of(node):
            seen[name] += 1
            unique = name if seen[name] == 1 else f"{name}#{seen[name]}"
            found.append(Function(Place(unique, first, last), _signature(name, node, body)))
    return found


def parsed(language: str, source: bytes) -> Tree:
    """The tree of a source in a language that has a grammar."""
    known = grammar(language)
    assert known is not None
    return Parser(known.parser.language).parse(source)  # one of its own: a parser is not for two threads


def parses(language: str, source: str) -> bool:
    """Whether a whole file is without syntax errors."""
    return not parsed(language, source.encode("utf-8", "surrogatepass")).root_node.has_error


def tokens_of(language: str, source: str) -> tuple[bytes, ...]:
    """The tokens of a source, of whatever in it does not parse too, without comments."""
    root = parsed(language, source.encode("utf-8", "surrogatepass")).root_node
    return tuple(leaf.text or b"" for leaf in leaves(root))


def leaves(node: Node) -> Iterator[Node]:
    """The tokens below a node, in order; no comments, no empty ones. Strings are one each."""
    waiting = [node]
    while waiting:
        now = waiting.pop()
        if "comment" in now.type or now.start_byte == now.end_byte:
            continue
        if not now.children or "string" in now.type:
            yield now
        else:
            waiting += reversed(now.children)


def _signature(name: str, node: Node, source: bytes) -> str:
    """The qualified name and all that stands between name and body."""
    named, body = naming(node), body_of(node)
    assert named is not None and body is not None
    told = " ".join(source[named.end_byte : body.start_byte].decode("utf-8", "replace").split())
    return f"{name}{' ' if told[:1].isalnum() or told[:1] == '=' else ''}{told}"[:LONGEST_SIGNATURE].removesuffix(" =>")
