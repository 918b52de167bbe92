"""A repository's history in two phases: metadata of all commits in one pass, contents of survivors on request.

About 80 times as fast as one `git diff-tree` process a commit, which is what PyDriller spends its time on
(measured on boltons and more-itertools); a test holds it against PyDriller commit by commit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from forge.errors import HistoryError
from forge.mining import git
from forge.records import Commit, CommitSummary, Drop, FileChange, PathChange

_FORMAT = "%H%x00%P%x00%an%x00%ae%x00%aI%x00%B%x00"
MISSING = "file missing or over 1 MiB"
_LOG = ("-z", "--raw", "--no-abbrev", "-M", "--no-ext-diff", "--diff-merges=off", "--encoding=UTF-8", f"--format={_FORMAT}")
_REGULAR = ("100644", "100755")
_RECENT_BYTES = 64 * 2**20


class GitHistory:
    """`forge.seams.History` over a git repository on disk; raises `HistoryError` when there is nothing to read."""

    def __init__(self, repo: str, path: Path, head: str | None = None) -> None:
        self.repo = repo
        self.path = path
        self.head = head or _head(path)
        self._objects = git.Objects(path)
        self._recent: OrderedDict[str, bytes | None] = OrderedDict()
        self._recent_bytes = 0

    def count(self) -> int:
        """Number of commits reachable from the head."""
        return int(git.run(self.path, "rev-list", "--count", self.head))

    def summaries(self, skip: int = 0, count: int | None = None) -> Iterator[CommitSummary]:
        limits = [f"--skip={skip}"] + ([f"--max-count={count}"] if count is not None else [])
        yield from self._summaries(git.fields(self.path, "log", *_LOG, *limits, self.head, "--"))

    def listed(self, shas: Sequence[str]) -> Iterator[CommitSummary]:
        names = "".join(f"{sha}\n" for sha in shas).encode()
        yield from self._summaries(git.fields(self.path, "log", *_LOG, "--no-walk=unsorted", "--stdin", stdin=names))

    def shas(self) -> bytes:
        """The id of every commit reachable from the head, newest first, a line each."""
        return git.run(self.path, "rev-list", self.head)

    def _summaries(self, fields: Iterator[str]) -> Iterator[CommitSummary]:
        sha = next(fields, None)
        while sha is not None:
            parents, name, email, date, message, _ = (next(fields) for _ in range(6))
            changes, following = _changes(fields)
            yield CommitSummary(
                repo=self.repo,
                sha=sha,
                parents=tuple(parents.split()),
                author_name=name,
                author_email=email,
                authored_at=date,
                message=message.strip(),
                changes=changes,
            )
            sha = following

    def changed_lines(self, shas: Iterable[str]) -> dict[str, int]:
        counts = dict.fromkeys(shas, 0)
        stdin = "".join(f"{sha}\n" for sha in counts).encode()
        output = git.run(self.path, "diff-tree", "--stdin", "-r", "-M", "-z", "--root", "--numstat", "--no-ext-diff", stdin=stdin)
        fields = iter(output.decode("utf-8", "replace").split("\0"))
        sha = ""
        for field in fields:
            if "\t" not in field:
                sha = field
                continue
            added, removed, path = field.split("\t", 2)
            counts[sha] += sum(int(number) for number in (added, removed) if number.isdigit())
            if not path:  # a rename: its two paths follow as fields of their own
                next(fields), next(fields)
        return counts

    def commit(self, summary: CommitSummary) -> Commit | Drop:
        files = []
        for change in summary.changes:
            if not change.path.endswith(".py"):
                continue
            before, after = (self._text(blob) for blob in (change.old_blob, change.blob))
            for side in (before, after):
                if isinstance(side, Drop):
                    return side.model_copy(update={"sha": summary.sha})
            files.append(FileChange(path=change.path, old_path=change.old_path, before=_or_none(before), after=_or_none(after)))
        return Commit(**summary.model_dump(exclude={"changes"}), files=tuple(files))

    def contents(
        self, summaries: Iterable[CommitSummary], *, wanted: Callable[[str], bool], max_lines: int | None = None
    ) -> Iterator[Commit | Drop]:
        some = list(summaries)
        for summary, patch in zip(some, git.patches(self.path, [summary.sha for summary in some]), strict=True):
            if patch is None:
                yield Drop(sha=summary.sha, reason=MISSING)
            elif max_lines is not None and patch.changed_lines > max_lines:
                yield Drop(sha=summary.sha, reason="too many changed lines")
            else:
                yield self._with_contents(summary, patch, wanted)

    def _with_contents(self, summary: CommitSummary, patch: git.Patch, wanted: Callable[[str], bool]) -> Commit | Drop:
        files = []
        for change in (change for change in summary.changes if wanted(change.path)):
            before, after = (self._text(blob) for blob in (change.old_blob, change.blob))
            for side in (before, after):
                if isinstance(side, Drop):
                    return side.model_copy(update={"sha": summary.sha})
            diff = patch.files.get(git.header(change.old_path or change.path, change.path), "")
            files.append(FileChange(path=change.path, old_path=change.old_path, before=_or_none(before), after=_or_none(after), diff=diff))
        return Commit(**summary.model_dump(exclude={"changes"}), files=tuple(files))

    def messages(self, containing: str) -> list[str]:
        """The whole messages of the commits whose message contains a text."""
        options = ("-z", "--format=%B", "--encoding=UTF-8", "--fixed-strings", f"--grep={containing}")
        return [
            message for message in git.run(self.path, "log", *options, self.head, "--").decode("utf-8", "replace").split("\0") if message
        ]

    def top_entries(self, sha: str) -> dict[str, str]:
        """Blob id of each regular file at the top of a commit's tree."""
        root = self._root(sha)
        entries = git.tree_entries(self._read(root) or b"", len(root) // 2)
        return {name: oid for mode, name, oid in entries if mode in _REGULAR and name.isprintable()}

    def entries(self, sha: str) -> dict[str, str]:
        """Blob id of each regular file in a commit's tree, by path; paths that are not UTF-8 are left out."""
        found: dict[str, str] = {}
        self._walk(self._root(sha), "", found)
        return found

    def text(self, blob: str) -> str | None:
        """A blob as text; `None` when it is missing, too large, binary or not UTF-8."""
        return _or_none(self._text(blob))

    def tree(self, sha: str) -> dict[str, bytes]:
        contents = ((path, self._read(blob)) for path, blob in self.entries(sha).items())
        return {path: content for path, content in contents if content is not None}

    def close(self) -> None:
        self._objects.close()

    def _root(self, sha: str) -> str:
        header = self._read(sha)
        if not header or not header.startswith(b"tree "):
            raise HistoryError(f"{self.path} has no commit {sha}; run git fsck there, or fetch the missing history")
        return header.split(b"\n", 1)[0][5:].decode()

    def _walk(self, tree: str, prefix: str, found: dict[str, str]) -> None:
        for mode, name, oid in git.tree_entries(self._read(tree) or b"", len(tree) // 2):
            path = prefix + name
            if mode == "40000":
                self._walk(oid, path + "/", found)
            elif mode in _REGULAR and path.isprintable():
                found[path] = oid

    def _read(self, name: str) -> bytes | None:
        """An object, from memory when it was read lately: neighbouring commits share almost all of them."""
        if name in self._recent:
            self._recent.move_to_end(name)
            return self._recent[name]
        content = self._recent[name] = self._objects.read(name)
        self._recent_bytes += len(content or b"")
        while self._recent_bytes > _RECENT_BYTES:
            self._recent_bytes -= len(self._recent.popitem(last=False)[1] or b"")
        return content

    def _text(self, blob: str) -> str | Drop | None:
        if not blob.strip("0"):
            return None
        content = self._read(blob)
        if content is None:
            return Drop(sha="", reason=MISSING)
        if b"\0" in content:
            return Drop(sha="", reason="binary content")
        try:
            return content.decode()
        except UnicodeDecodeError:
            return Drop(sha="", reason="not UTF-8")


def open_history(repo: str, path: str, head: str | None = None) -> GitHistory:
    """`GitHistory` at `head` or where HEAD is now, as a plain function that Ray workers can be given."""
    return GitHistory(repo, Path(path), head)


def _head(path: Path) -> str:
    if not path.is_dir():
        raise HistoryError(f"{path} is no folder; give the folder of a git repository")
    try:
        git.run(path, "rev-parse", "--git-dir")
    except HistoryError as error:
        if "dubious ownership" in str(error):
            raise HistoryError(f"{path} belongs to another user, so git refuses to read it; clone it as yourself") from error
        raise HistoryError(f"{path} is not a git repository; run git init there, or give another folder") from error
    try:
        return git.run(path, "rev-parse", "--verify", "HEAD^{commit}").decode().strip()
    except HistoryError as error:
        raise HistoryError(f"{path} has no commit on its current branch; commit something, or check out a branch that has") from error


def _changes(fields: Iterator[str]) -> tuple[tuple[PathChange, ...], str | None]:
    """The `--raw` entries that come next, and the field after them: the next commit's id."""
    changes: list[PathChange] = []
    for field in fields:
        entry = field.lstrip("\n")
        if not entry.startswith(":"):
            return tuple(changes), entry
        old_mode, mode, old_blob, blob, status = entry[1:].split(" ")
        paths = [next(fields)] + ([next(fields)] if status[0] in "RC" else [])
        changes.append(
            PathChange(
                path=paths[-1],
                old_path=paths[0] if len(paths) == 2 else None,
                status=status[0],
                old_mode=old_mode,
                mode=mode,
                old_blob=old_blob,
                blob=blob,
            )
        )
    return tuple(changes), None


def _or_none(text: str | Drop | None) -> str | None:
    return text if isinstance(text, str) else None
