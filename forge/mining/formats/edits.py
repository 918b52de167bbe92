"""Rows as edits of the tree that they start from: SEARCH/REPLACE blocks, unified diffs, and tasks with retrieved context."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forge.mining.formats.blocks import blocks_of
from forge.mining.formats.folder import Line
from forge.mining.formats.format import Source
from forge.mining.formats.lesson import asked
from forge.mining.row import Row
from forge.records import Drop
from forge.store.diffs import diff

Files = list[dict[str, str]]


def blocks(source: Source) -> Iterator[Line | Drop]:
    """`instruction`, `files` before, and `edits` that make them what they are after (SRI, arXiv 2601.13384)."""
    solved = _solved(source)
    if isinstance(solved, Drop):
        yield solved
    else:
        row, edits = solved
        yield _line(row, {"instruction": asked(row), "files": _before(row), "edits": edits})


def patches(source: Source) -> Iterator[Line | Drop]:
    """`instruction`, `files` before, and the `diff` that `git apply` turns them with."""
    row = _told(source)
    yield row if isinstance(row, Drop) else _line(row, {"instruction": asked(row), "files": _before(row), "diff": patch_of(row)})


def triples(source: Source) -> Iterator[Line | Drop]:
    """`files`, `task`, `solution`: what retrieval shows of the tree, relevant or not, by path; what is asked; the edits.

    `relevant` names the files among them that the solution changes.
    """
    solved = _solved(source)
    if isinstance(solved, Drop):
        yield solved
        return
    row, edits = solved
    before = _before(row)
    relevant = [file["path"] for file in before]
    files = sorted([*before, *_retrieved(row)], key=lambda file: file["path"])
    yield _line(row, {"files": files, "relevant": relevant, "task": asked(row), "solution": edits})


def patch_of(row: Row) -> str:
    """The row's diff as git wrote it, made from its files where git's is not kept."""
    if all(file.diff for file in row.files):
        return row.diff
    before = {file.old_path or file.path: file.before for file in row.files if file.before is not None}
    return diff(before, {file.path: file.after for file in row.files if file.after is not None})


def _told(source: Source) -> Row | Drop:
    """The row, if it is one that says what was asked."""
    if not isinstance(source, Row):
        return Drop(sha="", reason="only rows have files before and after")
    return source if asked(source) else Drop(sha=source.commit, reason="nothing says what was asked")


def _solved(source: Source) -> tuple[Row, str] | Drop:
    """The row and its blocks."""
    row = _told(source)
    if isinstance(row, Drop):
        return row
    edits = blocks_of(row.files)
    return edits if isinstance(edits, Drop) else (row, edits)


def _before(row: Row) -> Files:
    return [{"path": file.old_path or file.path, "content": file.before} for file in row.files if file.before is not None]


def _retrieved(row: Row) -> Files:
    """Symbols that retrieval offered of files which the commit leaves alone, each file's in their order there."""
    changed = {path for file in row.files for path in (file.path, file.old_path)}
    offered = row.change.offered if row.change else ()
    by_path: dict[str, list[tuple[int, str]]] = {}
    for symbol in offered:
        if symbol.path not in changed:
            by_path.setdefault(symbol.path, []).append((symbol.first_line, symbol.source.rstrip("\n")))
    return [{"path": path, "content": "\n\n".join(text for _, text in sorted(found)) + "\n"} for path, found in by_path.items()]


def _line(row: Row, fields: dict[str, Any]) -> Line:
    whence = {"id": row.id, "source": row.repo, "commit": row.commit, "parent": row.parent, "licence": row.licence}
    return Line(fields | whence, heldout=row.heldout)
