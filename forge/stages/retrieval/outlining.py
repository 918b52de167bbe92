"""Outlines of many files at once: a large tree is shared with a second process where there is a second core.

Python's parser holds the interpreter's lock, so threads would take turns. The second process is a plain child that reads sources from
its standard input and writes outlines to its standard output: it needs neither fork, which is unsafe beside threads, nor the
importable main module that `multiprocessing` asks for. Both are files without a name, not pipes: a pipe is fed in small pieces, each of
which waits for the lock that the parser here holds. Killed with its parent or alone it leaves nothing behind; where it fails, its share
is done here.
"""

from __future__ import annotations

import logging
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from forge.stages.retrieval.outline import Outline, from_bytes, outlines_of, to_bytes

SHARED = 4_000_000
"""Characters of source, about a second of work, from which on a second process is worth its start of a quarter of a second."""
START = 1_000_000
"""Characters that are outlined here while the second process starts."""
_LENGTH = struct.Struct("<I")

log = logging.getLogger(__name__)


def outlines(files: Sequence[tuple[str, str]], *, shared: int = SHARED) -> list[Outline]:
    """The outlines of paths and sources, in order, by two processes from `shared` characters on."""
    total = sum(len(source) for _, source in files)
    if total < shared or len(os.sched_getaffinity(0)) < 2:
        return outlines_of(files)
    cut = _cut(files, (total + START) // 2)
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(_elsewhere, files[cut:])
        here = outlines_of(files[:cut])
        there = other.result()
    return here + (outlines_of(files[cut:]) if there is None else there)


def _cut(files: Sequence[tuple[str, str]], characters: int) -> int:
    """How many files hold that many characters."""
    seen = 0
    for number, (_, source) in enumerate(files):
        if seen >= characters:
            return number
        seen += len(source)
    return len(files)


def _elsewhere(files: Sequence[tuple[str, str]]) -> list[Outline] | None:
    """Outlines made by a process of their own; `None` when it failed."""
    parts = _framed(part.encode("utf-8", "surrogatepass") for file in files for part in file)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as told:
            asked.write(b"".join(parts))
            asked.seek(0)
            subprocess.run([sys.executable, "-m", __name__], stdin=asked, stdout=told, stderr=subprocess.PIPE, env=environment, check=True)
            told.seek(0)
            made = [from_bytes(body) for body in _unframed(told.read())]
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        log.warning("a second process could not read half of the tree, which takes twice the time: %s", error)
        return None
    return made if len(made) == len(files) else None


def _answer(asked: BinaryIO, told: BinaryIO) -> None:
    """What the second process does."""
    parts = [part.decode("utf-8", "surrogatepass") for part in _unframed(asked.read())]
    for frame in _framed(to_bytes(outline) for outline in outlines_of(zip(parts[::2], parts[1::2], strict=True))):
        told.write(frame)


def _framed(bodies: Iterable[bytes]) -> Iterator[bytes]:
    for body in bodies:
        yield _LENGTH.pack(len(body))
        yield body


def _unframed(stream: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(stream):
        (size,) = _LENGTH.unpack_from(stream, start)
        start += _LENGTH.size
        yield stream[start : start + size]
        start += size


if __name__ == "__main__":
    _answer(sys.stdin.buffer, sys.stdout.buffer)
