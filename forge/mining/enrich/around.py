"""What stands around a change: the rest of its files in outline, and who calls what it changes.

Descriptions written with the surrounding code beat those from the diff alone (OMG, FSE 2024).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from forge.mining.enrich.question import Piece
from forge.mining.row import Row
from forge.records import FileChange, Symbol

MAX_OUTLINE = 40
"""Lines of a file's outline."""
MAX_CALLERS = 3
MAX_CALLER = 1_200
"""Characters of a caller that are shown."""
_OUTLINE = re.compile(
    r"^\s*(?:class |def |async def |function |func |fn |pub |public |interface |struct |type |import |from |#include |use |package )"
)


def around(row: Row, symbols: Collection[Symbol] = ()) -> list[Piece]:
    """Outlines of the files that a row changes, and callers of its functions among `symbols` (those of the parent's tree)."""
    outlines = [
        Piece(title=f"{file.path} before it, in outline", text=text) for file in row.files if (text := _outline(file)) and not _is_new(file)
    ]
    callers = [Piece(title=f"{symbol.key}, which uses it", text=symbol.source[:MAX_CALLER].rstrip()) for symbol in _callers(row, symbols)]
    return [*outlines, *callers]


def _is_new(file: FileChange) -> bool:
    return file.before is None


def _outline(file: FileChange) -> str:
    lines = [line.rstrip() for line in (file.before or "").splitlines() if _OUTLINE.match(line)]
    return "\n".join([*lines[:MAX_OUTLINE], *(["…"] if len(lines) > MAX_OUTLINE else [])])


def _callers(row: Row, symbols: Collection[Symbol]) -> Iterator[Symbol]:
    names = {function.name.split(".")[-1] for function in row.functions if not function.name.split(".")[-1].startswith("__")}
    own = {(function.path, function.name) for function in row.functions}
    if not names:
        return
    call = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(names)))})\(")
    found = 0
    for symbol in symbols:
        if found < MAX_CALLERS and (symbol.path, symbol.name) not in own and call.search(symbol.source):
            found += 1
            yield symbol
