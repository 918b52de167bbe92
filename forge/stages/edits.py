"""SEARCH/REPLACE edits: the format coding agents' users know, and the one that generation answers in.

path/to/file.py
<<<<<<< SEARCH
lines as they are
=======
lines as they shall be
>>>>>>> REPLACE

Where symbols are shown by number, the number of the symbol may stand for its path, and `...` alone for all its lines.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from forge.errors import StageError
from forge.records import FileEdit, Symbol
from forge.stages.stage import Hunk

SEARCH, DIVIDER, REPLACE = "<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE"
WHOLE = "..."
"""As the only line to search for: the numbered symbol as a whole."""


def format_edits(hunks: Sequence[Hunk], symbols: Sequence[Symbol] = ()) -> str:
    """Hunks as SEARCH/REPLACE blocks; those inside one of `symbols` carry its number, the others their path."""
    numbers = {symbol.key: str(number) for number, symbol in enumerate(symbols, 1)}
    places = [numbers.get(hunk.symbol, hunk.path) for hunk in hunks]
    return "\n".join("\n".join([place, SEARCH, *h.old, DIVIDER, *h.new, REPLACE]) for place, h in zip(places, hunks, strict=True))


def format_rewrites(after: Sequence[Symbol], symbols: Sequence[Symbol]) -> str:
    """Blocks that replace those of `symbols` whose counterpart in `after` (same order) differs, each as a whole."""
    return "\n".join(
        "\n".join([str(number), SEARCH, WHOLE, DIVIDER, *_lines(new), REPLACE])
        for number, (old, new) in enumerate(zip(symbols, after, strict=True), 1)
        if old.source != new.source
    )


def parse_edits(text: str, symbols: Sequence[Symbol] = ()) -> list[Hunk]:
    """The blocks of an answer; raises `StageError` when there is none or one is cut short."""
    hunks: list[Hunk] = []
    numbered = {str(number): symbol for number, symbol in enumerate(symbols, 1)}
    lines = [line for line in text.split("\n") if not line.startswith("```")]
    position = 0
    while position < len(lines):
        if lines[position].strip() != SEARCH:
            position += 1
            continue
        place = lines[position - 1].strip() if position else ""
        try:
            divider = lines.index(DIVIDER, position)
            end = lines.index(REPLACE, divider)
        except ValueError:
            raise StageError("a SEARCH block is cut short") from None
        if not place:
            raise StageError("a SEARCH block has no path before it")
        symbol, old = numbered.get(place), tuple(lines[position + 1 : divider])
        if symbol and old == (WHOLE,):
            old = _lines(symbol)
        hunks.append(Hunk(path=symbol.path if symbol else place, old=old, new=tuple(lines[divider + 1 : end])))
        position = end + 1
    if not hunks:
        raise StageError("the answer has no SEARCH/REPLACE block")
    return hunks


def apply_edits(hunks: Sequence[Hunk], files: Mapping[str, str], scopes: Sequence[Symbol] = ()) -> list[FileEdit]:
    """New contents of the files that the hunks touch; raises `StageError` with the reason when one does not fit.

    The lines of a hunk are looked for inside the `scopes` of its file first, then in the whole file, and must
    be found exactly once: an edit that could mean two places is refused. Where no line matches as it stands, lines
    that differ in indentation alone do, and the new lines move with them (as aider does).
    """
    changed: dict[str, list[str]] = {}
    for hunk in hunks:
        if hunk.path not in files:
            raise StageError(f"there is no file {hunk.path}")
        if not hunk.old:
            raise StageError(f"a hunk for {hunk.path} has nothing to search for")
        if hunk.old == hunk.new:
            raise StageError("an edit that changes nothing")
        lines = changed.setdefault(hunk.path, files[hunk.path].split("\n"))
        start, new = _find(lines, hunk, [s for s in scopes if s.path == hunk.path])
        lines[start : start + len(hunk.old)] = new
    return [FileEdit(path=path, content="\n".join(lines)) for path, lines in changed.items()]


def hunks_between(path: str, before: str, after: str, symbols: Sequence[Symbol] = ()) -> list[Hunk]:
    """The changed places between two versions of a file, each with old lines that are found exactly once.

    A pure insertion takes the line before it along, and an ambiguous hunk grows by its neighbours, so that
    every hunk can be applied by search alone.
    """
    old, new = before.split("\n"), after.split("\n")
    hunks = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        home = next((s for s in symbols if s.first_line - 1 <= a < s.last_line), None)
        low, high = (home.first_line - 1, home.last_line) if home else (0, len(old))
        while a == b or len(_places(old[low:high], old[a:b])) != 1:
            if a > low:
                a, c = a - 1, c - 1
            elif b < high:
                b, d = b + 1, d + 1
            else:
                break
        if a < b:
            hunks.append(Hunk(path=path, symbol=home.key if home else "", old=tuple(old[a:b]), new=tuple(new[c:d])))
    if before != after and not _rebuilds(hunks, path, before, after):
        return [Hunk(path=path, old=tuple(old), new=tuple(new))]  # places that grew into each other: the file as one
    return hunks


def _lines(symbol: Symbol) -> tuple[str, ...]:
    return tuple(symbol.source.removesuffix("\n").split("\n"))


def _rebuilds(hunks: Sequence[Hunk], path: str, before: str, after: str) -> bool:
    try:
        edits = apply_edits(hunks, {path: before})
    except StageError:
        return True  # needs scopes to be told apart, or is refused when applied: never applied wrongly
    return [edit.content for edit in edits] == [after]


def _find(lines: list[str], hunk: Hunk, scopes: Sequence[Symbol]) -> tuple[int, list[str]]:
    """Where the hunk belongs, and its new lines as they are to stand there."""
    places = _places(lines, hunk.old)
    if not places:
        places = _places([line.strip() for line in lines], [line.strip() for line in hunk.old])
    scoped = [i for i in places if any(s.first_line - 1 <= i < s.last_line for s in scopes)]
    found = scoped if len(scoped) == 1 else places
    if len(found) != 1:
        raise StageError(f"the searched lines are found {len(found)} times in {hunk.path}, not once")
    shift = _indent(lines[found[0]]) - _indent(hunk.old[0])
    return found[0], [_moved(line, shift) for line in hunk.new]


def _places(lines: Sequence[str], part: Sequence[str]) -> list[int]:
    size = len(part)
    return [i for i in range(len(lines) - size + 1) if list(lines[i : i + size]) == list(part)]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _moved(line: str, shift: int) -> str:
    """The line with `shift` more columns of indentation (fewer when negative, as far as it has any)."""
    return " " * max(0, _indent(line) + shift) + line.lstrip(" ") if line.strip() else line
