"""Code graphs as text: each file with what it imports, each definition with what it extends, calls and is called by."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from forge.mining.formats.folder import Line
from forge.mining.formats.format import Source
from forge.mining.formats.graph import CodeGraph, Edge, Node, graph_of, sources_of
from forge.mining.formats.lesson import asked
from forge.mining.row import Row
from forge.records import Drop


def graph_text(graph: CodeGraph) -> str:
    """The graph for a model to read, one line a fact, in the order of paths and lines; deterministic."""
    said: dict[str, list[str]] = {}
    for edge in graph.edges:
        if edge.kind != "contains":  # indentation says that
            said.setdefault(edge.source, []).append(f"{edge.kind} {edge.target}")
        if edge.kind == "calls":
            said.setdefault(edge.target, []).append(f"called by {edge.source}")
    return "\n".join(line for node in graph.nodes for line in _lines(node, said.get(node.key, [])))


def around(graph: CodeGraph, keys: Collection[str], steps: int = 1) -> CodeGraph:
    """The part of the graph within so many calls, imports or bases of `keys`, with the files and classes that hold it."""
    kept = set(keys)
    for _ in range(steps):
        kept |= {end for edge in graph.edges if edge.kind != "contains" for end in _ends(edge) if kept & set(_ends(edge))}
    parents = {edge.target: edge.source for edge in graph.edges if edge.kind == "contains"}
    for key in list(kept):
        while key in parents:
            key = parents[key]
            kept.add(key)
    return CodeGraph(
        nodes=tuple(node for node in graph.nodes if node.key in kept),
        edges=tuple(edge for edge in graph.edges if edge.source in kept and edge.target in kept),
    )


def graphs(source: Source) -> Iterator[Line | Drop]:
    """`task`, `graph` of the row's files and of what retrieval offers, and `relevant`: the keys of what the commit changes."""
    if not isinstance(source, Row):
        yield Drop(sha="", reason="only rows have files before and after")
        return
    task = asked(source)
    if not task:
        yield Drop(sha=source.commit, reason="nothing says what was asked")
        return
    changed = _changed(source)
    graph = graph_of(_sources(source) if changed else {})
    relevant = [node.key for node in graph.nodes if node.key in changed]
    if not relevant:
        yield Drop(sha=source.commit, reason="no changed definition in the graph")
        return
    whence = {"id": source.id, "source": source.repo, "licence": source.licence}
    yield Line({"task": task, "graph": graph_text(graph), "relevant": relevant} | whence, heldout=source.heldout)


def _sources(row: Row) -> dict[str, str]:
    """The row's files before it, and what retrieval offered of others."""
    offered = sources_of(row.change.offered) if row.change else {}
    return offered | {file.old_path or file.path: file.before for file in row.files if file.before is not None}


def _changed(row: Row) -> set[str]:
    """Keys of the definitions that a commit changes or removes, by the paths before it."""
    old = {file.path: file.old_path or file.path for file in row.files}
    functions = {f"{old.get(function.path, function.path)}::{function.name}" for function in row.functions if function.kind != "added"}
    return functions | {symbol.key for symbol in (row.change.touched if row.change else ())}


def _ends(edge: Edge) -> tuple[str, str]:
    return edge.source, edge.target


def _lines(node: Node, said: list[str]) -> Iterator[str]:
    depth = 0 if node.kind == "file" else 1 + node.key.partition("::")[2].count(".")
    yield f"{'  ' * depth}{node.kind} {node.title}"
    yield from (f"{'  ' * (depth + 1)}{fact}" for fact in dict.fromkeys(said))
