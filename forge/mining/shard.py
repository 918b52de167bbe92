"""How a set of repositories is cut into units of work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from forge.records import Record

RANGE = 1000
"""Commits in one shard: seconds of work, some MiB of rows."""


class Shard(Record):
    """One range of one repository's commits, newest first: the unit of work, of failure and of resumption."""

    repo: str
    path: str
    head: str
    listing: str
    """File of the repository's commits, newest first, a line each: to skip commits git would walk them all, again for each shard."""
    width: int
    """Bytes of a line."""
    skip: int
    count: int

    @property
    def key(self) -> str:
        """A file name that is the same for the same commits."""
        return f"{self.repo.replace('/', '--')}-{self.head[:12]}-{self.skip:07d}"

    def shas(self) -> list[str]:
        """The commits of the shard."""
        with open(self.listing, "rb") as file:
            file.seek(self.skip * self.width)
            return file.read(self.count * self.width).decode().split()


class Survey(Record):
    """What a repository is, found out before it is read; `failure` says why it cannot be."""

    repo: str
    path: str
    head: str = ""
    commits: int = 0
    listing: str = ""
    """File of all its commits, newest first, a line each."""
    reverted: tuple[str, ...] = ()
    """Commits that a later one takes back."""
    licence: str = ""
    """SPDX expression of the whole repository at its head."""
    failure: str = ""

    def shards(self, newest: int | None = None) -> Iterator[Shard]:
        """All of its commits, or the newest, in ranges."""
        last = min(self.commits, newest or self.commits)
        for skip in range(0, last, RANGE):
            count = min(RANGE, last - skip)
            yield Shard(
                repo=self.repo, path=self.path, head=self.head, listing=self.listing, width=len(self.head) + 1, skip=skip, count=count
            )


def fingerprint(*parts: object) -> str:
    """Short hash of everything that decides what a step writes."""
    body = json.dumps([part.model_dump(mode="json") if isinstance(part, Record) else part for part in parts], sort_keys=True, default=str)
    return hashlib.sha256(body.encode()).hexdigest()[:8]
