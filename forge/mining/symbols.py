"""The symbols that lie near a commit in its parent's tree: what negatives are drawn from, and who may be calling."""

from __future__ import annotations

from forge.mining.history import GitHistory
from forge.records import Commit, Symbol
from forge.stages.source.languages import is_shown, spoken
from forge.stages.source.symbols import is_test_path, symbols_of

POOL = 400
"""Symbols at most: those of touched and neighbouring files come first."""
KNOWN = 20_000
"""Parsed files that are remembered."""


class NearSymbols:
    """Symbols of parents' trees; a file that did not change between commits is parsed once."""

    def __init__(self, history: GitHistory) -> None:
        self._history = history
        self._known: dict[tuple[str, str], list[Symbol]] = {}

    def of(self, commit: Commit) -> list[Symbol]:
        """At most `POOL` symbols of the first parent's tree, nearest paths to the commit's files first, sorted by key."""
        touched = [file.old_path or file.path for file in commit.files]
        entries = self._history.entries(commit.parents[0])
        languages = spoken(entries)
        sources = [path for path in entries if is_shown(path, languages) and not is_test_path(path)]
        found: list[Symbol] = []
        for path in sorted(sources, key=lambda path: (-max(_shared(path, other) for other in touched), path)):
            if len(found) >= POOL:
                break
            found += self._in(path, entries[path])
        return sorted(found[:POOL], key=lambda symbol: symbol.key)

    def _in(self, path: str, blob: str) -> list[Symbol]:
        if (path, blob) not in self._known:
            if len(self._known) > KNOWN:
                self._known.clear()
            self._known[path, blob] = symbols_of(path, self._history.text(blob) or "")
        return self._known[path, blob]


def _shared(left: str, right: str) -> int:
    """How many leading folders two paths share; one more than any for the same file."""
    if left == right:
        return 1000
    same = 0
    for a, b in zip(left.split("/")[:-1], right.split("/")[:-1], strict=False):
        if a != b:
            break
        same += 1
    return same
