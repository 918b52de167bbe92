"""The code graph of Python sources: files, classes and functions, what contains, imports, calls and extends what.

Node and edge kinds are those of the Code Graph Model (arXiv 2505.16901) as far as one language's syntax shows them. Names
are resolved by syntax alone: a call of a parameter, or through an attribute of an unknown object, has no edge.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from forge.records import Record, Symbol

NodeKind = Literal["file", "class", "function"]
EdgeKind = Literal["contains", "imports", "calls", "extends"]
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Node(Record):
    """A file, or a class or function in it; `key` is the path, or `path::qualified.name`."""

    key: str
    kind: NodeKind
    path: str
    title: str
    """The file's path, a class with its bases, or a function's signature."""


class Edge(Record):
    """`source` contains, imports, calls or extends `target`; both are keys of nodes."""

    source: str
    target: str
    kind: EdgeKind


class CodeGraph(Record):
    """Nodes by path and place, edges by their source's."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def graph_of(files: Mapping[str, str]) -> CodeGraph:
    """The graph of a tree's sources by path; files that are not Python or do not parse are nodes without anything in them."""
    trees = {path: _tree(path, files[path]) for path in sorted(files)}
    modules = {_module(path): path for path in trees}
    nodes: list[Node] = []
    edges: dict[Edge, None] = {}
    for path, tree in trees.items():
        nodes.append(Node(key=path, kind="file", path=path, title=path))
        for found in _definitions(path, tree):
            nodes.append(found.node)
            edges[Edge(source=found.parent, target=found.node.key, kind="contains")] = None
    keys = {node.key for node in nodes}
    for path, tree in trees.items():
        names = _imported(path, tree, modules, keys)
        for target in dict.fromkeys(target.partition("::")[0] for target in names.values()):
            edges[Edge(source=path, target=target, kind="imports")] = None
        for edge in _uses(path, tree, names, keys):
            edges[edge] = None
    return CodeGraph(nodes=tuple(nodes), edges=tuple(edge for edge in edges if edge.source != edge.target))


def sources_of(symbols: Sequence[Symbol]) -> dict[str, str]:
    """Sources by path that hold these symbols and nothing else, methods inside classes: what `graph_of` reads of a retrieval."""
    found: dict[str, list[str]] = {}
    inside = ""
    for symbol in sorted(symbols, key=lambda symbol: (symbol.path, symbol.first_line)):
        owner = symbol.name.rpartition(".")[0]
        lines = found.setdefault(symbol.path, [])
        if owner and (not lines or owner != inside):
            lines.append(f"class {owner}:\n")
        inside = owner
        lines.append(symbol.source if symbol.source.endswith("\n") else f"{symbol.source}\n")
    return {path: "".join(lines) for path, lines in found.items()}


class _Found(NamedTuple):
    node: Node
    parent: str
    tree: Definition


def _tree(path: str, source: str) -> ast.Module:
    try:
        return ast.parse(source) if path.endswith(".py") else ast.Module([], [])
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _definitions(path: str, tree: ast.Module) -> Iterator[_Found]:
    """Classes, functions and methods of a file, outer before inner; functions inside functions are part of these."""
    waiting: list[tuple[str, str, ast.stmt]] = [(path, "", node) for node in reversed(tree.body)]
    while waiting:
        parent, before, node = waiting.pop()
        if not isinstance(node, Definition):
            continue
        name = f"{before}{node.name}"
        kind: NodeKind = "class" if isinstance(node, ast.ClassDef) else "function"
        found = Node(key=f"{path}::{name}", kind=kind, path=path, title=_title(name, node))
        yield _Found(found, parent, node)
        if isinstance(node, ast.ClassDef):
            waiting += [(found.key, f"{name}.", member) for member in reversed(node.body)]


def _title(name: str, node: Definition) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return f"{name}({bases})" if bases else name
    return f"{name}({ast.unparse(node.args)})"


def _imported(path: str, tree: ast.Module, modules: Mapping[str, str], keys: set[str]) -> dict[str, str]:
    """The names that a file imports from files of the tree, each with the key of what it is."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if target := _file_of(alias.name, modules):
                    names[alias.asname or alias.name] = target
        elif isinstance(node, ast.ImportFrom):
            above = path.split("/")[: -node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = _file_of(f"{base}.{alias.name}" if base else alias.name, modules)
                outer = _file_of(base, modules)
                key = f"{outer}::{alias.name}"
                if target := inner or (key if key in keys else outer):
                    names[alias.asname or alias.name] = target
    return names


def _file_of(module: str, modules: Mapping[str, str]) -> str | None:
    """The file of a module; a source root such as `src` may stand before it."""
    if module in modules:
        return modules[module]
    ends = [path for name, path in modules.items() if name.endswith(f".{module}")]
    return ends[0] if len(ends) == 1 and module else None


def _uses(path: str, tree: ast.Module, names: Mapping[str, str], keys: set[str]) -> Iterator[Edge]:
    """What each definition of a file calls and extends, and what the file itself calls outside of any."""
    inside: set[ast.AST] = set()
    for found in _definitions(path, tree):
        mine = found.node.key
        if isinstance(found.tree, ast.ClassDef):
            for base in found.tree.bases:
                if target := _resolved(ast.unparse(base), path, mine, names, keys):
                    yield Edge(source=mine, target=target, kind="extends")
            continue
        inside.update(ast.walk(found.tree))
        yield from _calls(mine, ast.walk(found.tree), path, names, keys)
    yield from _calls(path, (node for node in ast.walk(tree) if node not in inside), path, names, keys)


def _calls(mine: str, nodes: Iterator[ast.AST], path: str, names: Mapping[str, str], keys: set[str]) -> Iterator[Edge]:
    calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)]
    for node in sorted(calls, key=lambda call: (call.lineno, call.col_offset)):
        if target := _resolved(ast.unparse(node.func), path, mine, names, keys):
            yield Edge(source=mine, target=target, kind="calls")


def _resolved(dotted: str, path: str, mine: str, names: Mapping[str, str], keys: set[str]) -> str | None:
    """The key that a dotted name means in `mine`: a method of the same class, something of this file, or something imported."""
    first, _, rest = dotted.partition(".")
    if first in ("self", "cls") and rest:
        owner = mine.rpartition(".")[0]
        return _if_there(f"{owner}.{rest}", keys)
    if here := _if_there(f"{path}::{dotted}", keys):
        return here
    for size in range(dotted.count(".") + 1, 0, -1):
        head, tail = ".".join(dotted.split(".")[:size]), ".".join(dotted.split(".")[size:])
        if head in names:
            target = names[head]
            return _if_there(target + (("." if "::" in target else "::") + tail if tail else ""), keys)
    return None


def _if_there(key: str, keys: set[str]) -> str | None:
    return key if key in keys else None
