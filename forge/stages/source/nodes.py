"""Functions as nodes of tree-sitter's trees: what they are called, and which lines are theirs.

Python's are named and cut as `forge.stages.source.symbols` does it: top-level functions and methods of top-level classes, decorators
included. Elsewhere a function is known by the names around it, and one inside another belongs to that.
"""

from __future__ import annotations

import re

from tree_sitter import Node

from forge.stages.source.grammars import Grammar

_PYTHON_PARENTS = frozenset({"module", "block", "class_definition", "decorated_definition", "ERROR"})
_FUNCTION_LIKE = re.compile("function|method|lambda|arrow|closure")


def name_of(node: Node, known: Grammar, language: str) -> str:
    """The qualified name of a function; empty for one inside another, and where Python's symbols would not name it."""
    own = _own_name(node)
    names, parent = [own] if own else [], node.parent
    while parent is not None and own:
        if language == "python" and parent.type not in _PYTHON_PARENTS:
            return ""
        if parent.type in known.owners:
            names.insert(0, _own_name(parent))
        elif _FUNCTION_LIKE.search(parent.type) and parent.type != "decorated_definition":
            return ""
        parent = parent.parent
    return "" if language == "python" and len(names) > 2 else ".".join(name for name in names if name)


def naming(node: Node) -> Node | None:
    """The node with the name of a function or of what it belongs to."""
    for field in ("name", "declarator", "type"):
        named = node.child_by_field_name(field)
        while named is not None and (inner := named.child_by_field_name("declarator")):
            named = inner
        if named is not None:
            return named
    return None


def body_of(node: Node) -> Node | None:
    """The body of a function, `None` for a declaration without one."""
    value = node.child_by_field_name("value")
    return (value or node).child_by_field_name("body")


def whole(node: Node) -> Node:
    """The function with its decorators."""
    return node.parent if node.parent and node.parent.type == "decorated_definition" else node


def lines_of(source: bytes, node: Node) -> str:
    """Whole lines, from that of the function's first token to the end of its last one that is no comment."""
    first = source.rfind(b"\n", 0, node.start_byte) + 1
    end = source.find(b"\n", end_of(node))
    return source[first : len(source) if end < 0 else end + 1].decode("utf-8", "replace")


def end_of(node: Node) -> int:
    """The byte at which a function ends: comments behind its last statement belong to what follows, unless a bracket closes after them."""
    children = node.named_children
    if not children or node.end_byte > children[-1].end_byte:
        return node.end_byte
    parts = [part for part in children if part.type != "comment"]
    return end_of(parts[-1]) if parts else node.end_byte


def _own_name(node: Node) -> str:
    named = naming(node)
    return "" if named is None or named.text is None else _receiver(node) + named.text.decode("utf-8", "replace")


def _receiver(node: Node) -> str:
    """The type that a Go method belongs to."""
    receiver = node.child_by_field_name("receiver")
    if receiver is None or receiver.text is None:
        return ""
    return receiver.text.decode("utf-8", "replace").strip("()").split()[-1].lstrip("*").partition("[")[0] + "."
