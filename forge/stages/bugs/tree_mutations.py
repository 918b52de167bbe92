"""Plausible bugs in sources of other languages than Python: one token becomes another of its kind.

The operators are those that `forge.stages.bugs.core_operators` changes in Python, as far as languages with braces share them.
"""

from __future__ import annotations

from collections.abc import Iterator

from tree_sitter import Node

from forge.stages.bugs.splices import Splice
from forge.stages.source.tree_symbols import leaves, parsed

_SWAPS = {
    "comparison": (("<", "<="), (">", ">="), ("==", "!="), ("===", "!==")),
    "arithmetic": (("+", "-"), ("*", "/"), ("+=", "-="), ("++", "--"), ("<<", ">>")),
    "logic": (("&&", "||"), ("and", "or")),
    "constant": (("true", "false"), ("True", "False")),
}
_OTHERS = {
    token: (kind, other) for kind, pairs in _SWAPS.items() for pair in pairs for token, other in zip(pair, reversed(pair), strict=True)
}
_NEGATED = {"<": ">=", ">": "<=", "<=": ">", ">=": "<"}
_NUMBERS = ("number", "integer", "int_literal", "number_literal", "decimal_integer_literal", "integer_literal")


def splices(language: str, source: str) -> Iterator[Splice]:
    """What may be done to a source, in order of place; offsets are in characters."""
    body = source.encode("utf-8", "surrogatepass")
    at = characters = 0
    for leaf in leaves(parsed(language, body).root_node):
        characters += len(body[at : leaf.start_byte].decode("utf-8", "surrogatepass"))
        at = leaf.start_byte
        for operator, text in _changes(leaf):
            # Every token that is exchanged is ASCII: as many bytes as characters.
            yield Splice(operator=operator, start=characters, end=characters + leaf.end_byte - at, text=text)


def _changes(leaf: Node) -> Iterator[tuple[str, str]]:
    text = (leaf.text or b"").decode("utf-8", "replace")
    beside = leaf.parent.type if leaf.parent else ""
    if leaf.type in _NUMBERS and text.isdecimal():
        yield "number", str(int(text) + 1)
        if text != "0":
            yield "number", str(int(text) - 1)
    elif (leaf.type == text or text in ("true", "false")) and text in _OTHERS and "type" not in beside and "pointer" not in beside:
        kind, other = _OTHERS[text]
        yield kind, other
        if text in _NEGATED and "expression" in beside:
            yield kind, _NEGATED[text]
