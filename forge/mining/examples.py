"""Changes become examples, and one range of one history becomes examples from end to end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from forge.config import MiningConfig
from forge.mining.changes import change_of
from forge.mining.filters import drop_reason
from forge.mining.history import GitHistory
from forge.records import Commit, CommitSummary, Drop, Example, Record, Symbol
from forge.stages import REGISTRY
from forge.stages.stage import Change, PromptStyle
from forge.stages.symbols import is_test_path, symbols_of

POOL = 400
"""Symbols at most that negatives are drawn from: those of touched and neighbouring files come first."""


class Mined(Record):
    """What a part of a history gave: examples, and where every commit went."""

    commits: int
    survivors: int
    """Commits that gave examples."""
    drops: dict[str, int]
    examples: tuple[Example, ...]


def examples_of(change: Change, style: PromptStyle = "full") -> Iterator[Example]:
    """The examples of every stage that one change teaches."""
    for stage in REGISTRY.values():
        yield from stage.from_change(change, style)


def mine_range(
    history: GitHistory,
    config: MiningConfig,
    *,
    skip: int = 0,
    count: int | None = None,
    heldout: Collection[str] = (),
    style: PromptStyle = "full",
) -> Mined:
    """Examples of a range of commits, newest first. Raises `HistoryError` when git fails; bad commits are counted drops."""
    drops: Counter[str] = Counter()
    commits, survivors = 0, []
    for summary in history.summaries(skip, count):
        commits += 1
        reason = drop_reason(summary, config, heldout)
        if reason:
            drops[reason] += 1
        else:
            survivors.append(summary)
    examples: list[Example] = []
    seen: set[int] = set()
    taught = 0
    for change in changes_of(history, survivors, config, heldout):
        mark = 0 if isinstance(change, Drop) else hash((change.statement, change.hunks))
        if isinstance(change, Drop) or mark in seen:
            drops[change.reason if isinstance(change, Drop) else "duplicate"] += 1
            continue
        seen.add(mark)
        taught += 1
        examples += examples_of(change, style)
    return Mined(commits=commits, survivors=taught, drops=dict(drops), examples=tuple(examples))


def changes_of(
    history: GitHistory, survivors: Collection[CommitSummary], config: MiningConfig, heldout: Collection[str] = ()
) -> Iterator[Change | Drop]:
    """Each survivor as a change, or the reason why it is none after all."""
    sizes = history.changed_lines(summary.sha for summary in survivors)
    symbols = _Symbols(history)
    for summary in survivors:
        if sizes[summary.sha] > config.max_changed_lines:
            yield Drop(sha=summary.sha, reason="too many changed lines")
            continue
        commit = history.commit(summary)
        try:
            yield commit if isinstance(commit, Drop) else change_of(commit, symbols.near(commit), config, heldout)
        except (RecursionError, MemoryError):  # from the parser, on sources made to hurt it
            yield Drop(sha=summary.sha, reason="too deeply nested")


class _Symbols:
    """Symbols of parents' trees; a file that did not change between commits is parsed once."""

    def __init__(self, history: GitHistory) -> None:
        self._history = history
        self._known: dict[tuple[str, str], list[Symbol]] = {}

    def near(self, commit: Commit) -> list[Symbol]:
        """At most `POOL` symbols of the first parent's tree, nearest paths to the commit's files first, sorted by key."""
        touched = [file.old_path or file.path for file in commit.files]
        entries = self._history.entries(commit.parents[0])
        sources = [path for path in entries if path.endswith(".py") and not is_test_path(path)]
        found: list[Symbol] = []
        for path in sorted(sources, key=lambda path: (-max(_shared(path, other) for other in touched), path)):
            if len(found) >= POOL:
                break
            found += self._of(path, entries[path])
        return sorted(found[:POOL], key=lambda symbol: symbol.key)

    def _of(self, path: str, blob: str) -> list[Symbol]:
        if (path, blob) not in self._known:
            if len(self._known) > 20_000:
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
