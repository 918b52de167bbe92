"""Git as a subprocess: commands with a repository's own configuration disarmed, and objects by id.

This keeps a repository's configuration from starting programs or changing formats. It does not make git itself
safe against a crafted object store; git's own ownership check stays on.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from forge.errors import HistoryError

MAX_FILE_BYTES = 2**20
"""Larger files are never read: no source that a stage can show is that long."""

PLAIN_DIFF = ("--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/", "-U3", "--diff-algorithm=myers")
"""What git's diffs look like wherever nobody has configured anything else."""
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""An id that git knows in every repository, or says is missing."""
_LACKING = re.compile(rb"promisor|could not fetch|unable to read|missing (?:blob|object)")
_ID = re.compile(rb"(?:[0-9a-f]{40}|[0-9a-f]{64})\n")

_FLAGS = (
    "--no-replace-objects",
    "--no-optional-locks",
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "log.showSignature=false"),
    *("-c", "log.showRoot=true"),
    *("-c", "diff.external="),
    *("-c", "diff.suppressBlankEmpty=false"),
    *("-c", "diff.renameLimit=400"),
    # Names of other alphabets as they are; quotes, backslashes and control characters stay escaped.
    *("-c", "core.quotePath=false"),
    # Bigger text is treated as binary by diffs, so a 100 MB file costs nothing.
    *("-c", f"core.bigFileThreshold={MAX_FILE_BYTES}"),
)


def run(path: Path, *arguments: str, stdin: bytes | None = None) -> bytes:
    """Output of one git command; raises `HistoryError` with git's own last line."""
    try:
        done = subprocess.run(_command(path, arguments), input=stdin, capture_output=True, env=_environment(), check=False)
    except OSError as error:
        raise HistoryError(f"git cannot be started in {path}: {error}; install git 2.30 or later") from error
    if done.returncode:
        raise HistoryError(f"git {arguments[0]} failed in {path}: {_last_line(done.stderr)}")
    return done.stdout


def fields(path: Path, *arguments: str, stdin: bytes = b"") -> Iterator[str]:
    """The NUL-terminated fields that a git command prints, as they come; raises `HistoryError` at the end if it failed."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(_command(path, arguments), stdin=pipe, stdout=pipe, stderr=pipe, env=_environment())
    assert process.stdin and process.stdout and process.stderr
    feeder = threading.Thread(target=_feed, args=(process.stdin, stdin), daemon=True)
    feeder.start()
    try:
        rest = b""
        while chunk := os.read(process.stdout.fileno(), 2**16):
            *whole, rest = (rest + chunk).split(b"\0")
            for field in whole:
                yield field.decode("utf-8", "replace")
        error = process.stderr.read()
        if process.wait():
            raise HistoryError(f"git {arguments[0]} failed in {path}: {_last_line(error)}")
    finally:
        process.kill()
        process.wait()
        feeder.join()
        process.stdout.close()
        process.stderr.close()


class Patch(NamedTuple):
    """The diff of one commit: the text of each file by its `diff --git` line, and how many lines it adds and removes."""

    files: dict[str, str]
    changed_lines: int


def patches(path: Path, shas: Sequence[str]) -> Iterator[Patch | None]:
    """The diffs of commits against their first parents, in their order; `None` for one whose files a partial clone lacks.

    One `git diff-tree --stdin` gives them all; memory holds one commit's diff. Raises `HistoryError` when git fails otherwise.
    """
    done = 0
    while done < len(shas):
        for patch in _patches(path, shas[done:]):
            done += 1
            yield patch


def _patches(path: Path, shas: Sequence[str]) -> Iterator[Patch | None]:
    """As far as one process comes: git ends at an object that it does not have."""
    process = subprocess.Popen(
        _command(path, ("diff-tree", "--stdin", "--always", "--root", "-r", "-M", "-p", "--full-index", *PLAIN_DIFF)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(),
    )
    assert process.stdin and process.stdout and process.stderr
    # A thread feeds it: a writer that waits for its reader, which waits for the writer, would wait for ever.
    feeder = threading.Thread(target=_feed, args=(process.stdin, "".join(f"{sha}\n" for sha in shas).encode()), daemon=True)
    feeder.start()
    try:
        lines = iter(process.stdout)
        line = next(lines, b"")
        for number, sha in enumerate(shas):
            section: list[bytes] = []
            if line == sha.encode() + b"\n":
                section, line = _until_next_commit(lines)
            # The last of them may be cut short; a commit with nothing to it comes with its id alone.
            if not line and (number + 1 < len(shas) or process.wait()):
                said = process.stderr.read()
                if not _LACKING.search(said):
                    raise HistoryError(f"git diff-tree ended early in {path}: {_last_line(said)}")
                yield None
                return
            yield _patch(section)
    finally:
        process.kill()
        process.wait()
        feeder.join()
        for stream in (process.stdout, process.stderr):
            stream.close()


def header(old: str, new: str) -> str:
    """The `diff --git` line of a file, by which its part of a `Patch` is found."""
    return f"diff --git {_quoted(f'a/{old}')} {_quoted(f'b/{new}')}"


def _quoted(path: str) -> str:
    """As git writes it with `core.quotePath` off; nothing that has control characters is looked for."""
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"' if '"' in path or "\\" in path else path


def _feed(stdin: IO[bytes], content: bytes) -> None:
    with contextlib.suppress(OSError, ValueError), stdin:
        stdin.write(content)


def _until_next_commit(lines: Iterator[bytes]) -> tuple[list[bytes], bytes]:
    """The lines of one commit's diff, and the next commit's id. No line of a diff is one: hunks begin with a sign."""
    section: list[bytes] = []
    for line in lines:
        if len(line) in (41, 65) and _ID.fullmatch(line):
            return section, line
        section.append(line)
    return section, b""


def _patch(section: list[bytes]) -> Patch:
    starts = [number for number, line in enumerate(section) if line.startswith(b"diff --git ")]
    files: dict[str, str] = {}
    changed = 0
    for first, last in itertools.pairwise([*starts, len(section)] if starts else []):
        part = section[first:last]
        files[part[0].decode("utf-8", "surrogateescape").rstrip("\n")] = b"".join(part).decode("utf-8", "replace")
        hunks = next((number for number, line in enumerate(part) if line.startswith(b"@@")), len(part))
        changed += sum(line[:1] in (b"+", b"-") for line in part[hunks:])
    return Patch(files, changed)


class Objects:
    """Objects of one repository by id, read through one `git cat-file --batch`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = self._started()

    def read(self, name: str) -> bytes | None:
        """Content of an object; `None` when it is missing or over `MAX_FILE_BYTES`. Raises `HistoryError` when git dies."""
        out = self._ask(name)
        header = out.readline().split()
        if not header:
            self._revive()
            return None
        if header[-1] in (b"missing", b"ambiguous"):
            return None
        size = int(header[-1])
        if size > MAX_FILE_BYTES:
            self._skip(out, size + 1)
            return None
        return out.read(size + 1)[:-1]

    def close(self) -> None:
        """End the process; safe to call twice."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            _command(self.path, ("cat-file", "--batch")),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )

    def _revive(self) -> None:
        """Git ends at an object that a partial clone has left with its origin: it is missing, the others are still to be had."""
        self.close()
        self._process = self._started()
        if not self._ask(EMPTY_TREE).readline():
            raise HistoryError(f"git cat-file ended early in {self.path}; run git fsck there")
        self.close()
        self._process = self._started()

    def _ask(self, name: str) -> IO[bytes]:
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(name.encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise HistoryError(f"git cat-file is gone in {self.path}: {error}") from error
        return self._process.stdout

    @staticmethod
    def _skip(out: IO[bytes], size: int) -> None:
        while size > 0:
            size -= len(out.read(min(size, MAX_FILE_BYTES))) or size


def tree_entries(content: bytes, width: int) -> Iterator[tuple[str, str, str]]:
    """Mode, name and id of each entry of a tree object; ids are `width` bytes."""
    position = 0
    while position < len(content):
        end = content.index(b"\0", position)
        mode, _, name = content[position:end].partition(b" ")
        position = end + 1 + width
        yield mode.decode(), name.decode("utf-8", "surrogateescape"), content[end + 1 : position].hex()


def _command(path: Path, arguments: Sequence[str]) -> list[str]:
    return ["git", "-C", str(path), *_FLAGS, *arguments]


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "no message"
