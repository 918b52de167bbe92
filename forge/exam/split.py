"""Which side a file is on: files that are touched together are one group, and a group's hash decides.

A file on both sides would let training on one task teach the answer of another, so a task whose files would join
groups into too large a part of the repository is refused instead (`join` says no).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from forge.records import Side


class Split:
    """Groups of one repository's files. Sides are final once every candidate has been joined."""

    def __init__(self, repo: str, heldout_fraction: float, *, transfer: bool = False, max_group: int = 8) -> None:
        self.repo = repo
        self._fraction = heldout_fraction
        self._transfer = transfer
        self._max_group = max_group
        self._parents: dict[str, str] = {}
        self._sizes: dict[str, int] = {}

    def join(self, files: Sequence[str], *, always: bool = False) -> bool:
        """Put files into one group; false, and nothing changes, when that would make it larger than `max_group`."""
        roots = {self._root(path) for path in files}
        size = sum(self._sizes[root] for root in roots)
        if size > self._max_group and len(roots) > 1 and not always:
            return False
        head = min(roots)
        for root in roots - {head}:
            self._parents[root] = head
        self._sizes[head] = size
        return True

    def side(self, path: str) -> Side:
        """The side of a file's group; a path never joined is a group of its own."""
        return "transfer" if self._transfer else side_of(self.repo, self._root(path), self._fraction)

    def on_side(self, side: Side) -> list[str]:
        """Every joined file on one side, sorted."""
        return sorted(path for path in self._parents if self.side(path) == side)

    def _root(self, path: str) -> str:
        self._parents.setdefault(path, path)
        self._sizes.setdefault(path, 1)
        while self._parents[path] != path:
            self._parents[path] = self._parents[self._parents[path]]
            path = self._parents[path]
        return path


def side_of(repo: str, group: str, heldout_fraction: float) -> Side:
    """Held out for `heldout_fraction` of all groups, by a hash that no seed and no other group changes."""
    digest = hashlib.sha256(f"forge-split:1:{repo}:{group}".encode("utf-8", "surrogateescape")).digest()
    return "heldout" if int.from_bytes(digest[:8], "big") < heldout_fraction * 2**64 else "train"


def max_group(files: Iterable[str]) -> int:
    """How large a group may get: a fifth of the repository's files, at least eight."""
    return max(8, len(list(files)) // 5)
