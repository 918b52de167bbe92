"""Git as a subprocess: commands with a repository's own configuration disarmed, and objects by id.

This keeps a repository's configuration from starting programs or changing formats. It does not make git itself
safe against a crafted object store; git's own ownership check stays on.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from forge.errors import HistoryError

MAX_FILE_BYTES = 2**20
"""Larger files are never read: no source that a stage can show is that long."""

_FLAGS = (
    "--no-replace-objects",
    "--no-optional-locks",
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "log.showSignature=false"),
    *("-c", "log.showRoot=true"),
    *("-c", "diff.external="),
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


def fields(path: Path, *arguments: str) -> Iterator[str]:
    """The NUL-terminated fields that a git command prints, as they come; raises `HistoryError` at the end if it failed."""
    process = subprocess.Popen(_command(path, arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment())
    assert process.stdout and process.stderr
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
        process.stdout.close()
        process.stderr.close()


class Objects:
    """Objects of one repository by id, read through one `git cat-file --batch`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = subprocess.Popen(
            _command(path, ("cat-file", "--batch")),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )

    def read(self, name: str) -> bytes | None:
        """Content of an object; `None` when it is missing or over `MAX_FILE_BYTES`. Raises `HistoryError` when git dies."""
        out = self._ask(name)
        header = out.readline().split()
        if not header:
            raise HistoryError(f"git cat-file ended early in {self.path}; run git fsck there")
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
