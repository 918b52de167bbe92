"""How far a patch makes the change that the reference makes: a grade for tasks whose tests cannot be run.

Line-level recall of the reference (SERA, arXiv 2601.20789), and of the functions that it changes. SERA's example of a threshold, 0.5, is
reached by whoever takes out the one wrong line: of 1,409 such patches of a finished quickstart 66 % were right by their tests, at 0.75
92 % of 947, which were 92 % of all right ones (`benchmarks/soft.py`). A patch that does the right thing in another way fails, one that
makes most of the right change passes: a weak grade, marked as such.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping

from forge.exam.functions import functions_of, parse, span
from forge.records import Record

Texts = Mapping[str, str | None]
"""Text by path, `None` for no such file."""
LINES, SYMBOLS = 0.75, 0.5
"""Shares from which on a patch passes."""


class Overlap(Record):
    """Shares of what the reference changes that the patch changes too, 0 to 1."""

    lines: float
    symbols: float
    changed: int
    """Lines that the reference takes out or puts in; blank ones do not count."""

    @property
    def passed(self) -> bool:
        return self.changed > 0 and self.lines >= LINES and self.symbols >= SYMBOLS


def overlap(before: Texts, reference: Texts, patch: Texts) -> Overlap:
    """The overlap of two sets of files with the same files before them; a file that one does not name is left as it was."""
    wanted, made = _lines(before, reference), _lines(before, patch)
    shared = sum((wanted & made).values())
    symbols, touched = _symbols(before, reference), _symbols(before, patch)
    return Overlap(
        lines=shared / wanted.total() if wanted else 0.0,
        symbols=len(symbols & touched) / len(symbols) if symbols else 1.0,
        changed=wanted.total(),
    )


def _lines(before: Texts, after: Texts) -> Counter[tuple[str, str, str]]:
    """(path, - or +, text without margins) of each changed line."""
    found: Counter[tuple[str, str, str]] = Counter()
    for path, text in after.items():
        for line in difflib.ndiff((before.get(path) or "").splitlines(), (text or "").splitlines()):
            if line[:2] in ("- ", "+ ") and line[2:].strip():
                found[path, line[0], line[2:].strip()] += 1
    return found


def _symbols(before: Texts, after: Texts) -> set[tuple[str, str]]:
    """(path, qualified name) of functions that were there and have another text afterwards."""
    changed = set()
    for path, text in after.items():
        old, new = _functions(before.get(path) or ""), _functions(text or "")
        changed |= {(path, name) for name, source in old.items() if new.get(name) != source}
    return changed


def _functions(text: str) -> dict[str, str]:
    lines = text.splitlines()
    spans: Iterable[tuple[str, tuple[int, int]]] = ((name, span(node)) for name, node in functions_of(parse(text)))
    return {name: "\n".join(lines[first - 1 : last]) for name, (first, last) in spans}
