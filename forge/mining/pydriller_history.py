"""`PyDrillerHistory`: the same interface read by PyDriller, the reference that the fast path is held against, and its fallback.

A hundred times slower: PyDriller starts a git process for each commit. What it does not know (file modes, blob ids, whole trees)
comes from git's own listing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pydriller
from pydriller.domain.commit import ModifiedFile

from forge.mining.git import MAX_FILE_BYTES, header
from forge.mining.history import GitHistory
from forge.records import Commit, CommitSummary, Drop, FileChange


class PyDrillerHistory:
    """`forge.seams.History` by PyDriller; raises `HistoryError` when there is nothing to read."""

    def __init__(self, repo: str, path: Path, head: str | None = None) -> None:
        self._listing = GitHistory(repo, path, head)
        self._git = pydriller.Git(str(path))
        self.repo, self.path, self.head = repo, path, self._listing.head

    def summaries(self, skip: int = 0, count: int | None = None) -> Iterator[CommitSummary]:
        yield from self._told(self._listing.summaries(skip, count))

    def listed(self, shas: Sequence[str]) -> Iterator[CommitSummary]:
        yield from self._told(self._listing.listed(shas))

    def _told(self, listed: Iterable[CommitSummary]) -> Iterator[CommitSummary]:
        """The same by PyDriller's own words."""
        for summary in listed:
            commit = self._git.get_commit(summary.sha)
            said = {
                "parents": tuple(commit.parents),
                "author_name": commit.author.name or "",
                "author_email": commit.author.email or "",
                "authored_at": commit.author_date.isoformat(),
                "message": commit.msg.strip(),
            }
            yield summary.model_copy(update=said)

    def changed_lines(self, shas: Iterable[str]) -> dict[str, int]:
        return {sha: self._git.get_commit(sha).lines for sha in shas}

    def contents(
        self, summaries: Iterable[CommitSummary], *, wanted: Callable[[str], bool], max_lines: int | None = None
    ) -> Iterator[Commit | Drop]:
        for summary in summaries:
            commit = self._git.get_commit(summary.sha)
            if max_lines is not None and commit.lines > max_lines:
                yield Drop(sha=summary.sha, reason="too many changed lines")
            else:
                yield self._with_contents(summary, commit.modified_files, wanted)

    def commit(self, summary: CommitSummary) -> Commit | Drop:
        found = self._git.get_commit(summary.sha).modified_files
        return self._with_contents(summary, found, lambda path: path.endswith(".py"))

    def tree(self, sha: str) -> dict[str, bytes]:
        return self._listing.tree(sha)

    def close(self) -> None:
        self._listing.close()
        self._git.clear()

    def _with_contents(self, summary: CommitSummary, found: list[ModifiedFile], wanted: Callable[[str], bool]) -> Commit | Drop:
        files = []
        for file in (file for file in found if wanted(file.new_path or file.old_path or "")):
            sides = file.content_before, file.content
            if reason := next((reason for side in sides if (reason := _unreadable(side))), ""):
                return Drop(sha=summary.sha, reason=reason)
            files.append(_change(file))
        return Commit(**summary.model_dump(exclude={"changes"}), files=tuple(files))


def _unreadable(content: bytes | None) -> str:
    if content is None:
        return ""
    if len(content) > MAX_FILE_BYTES:
        return "file missing or over 1 MiB"
    if b"\0" in content:
        return "binary content"
    try:
        content.decode()
    except UnicodeDecodeError:
        return "not UTF-8"
    return ""


def _change(file: ModifiedFile) -> FileChange:
    """A file as the fast path gives it. PyDriller says `None` for an empty source, and knows no headers of a diff."""
    old, new = file.old_path, file.new_path
    added, deleted = file.change_type.name == "ADD", file.change_type.name == "DELETE"
    before = None if added else (file.content_before or b"").decode()
    after = None if deleted else (file.content or b"").decode()
    head = header(old or new or "", new or old or "")
    return FileChange(
        path=new or old or "",
        old_path=old if new and old and old != new else None,
        before=before,
        after=after,
        diff=f"{head}\n{file.diff}",
    )
