"""Files and folders that appear whole or not at all, whatever gets killed in between."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".tmp-"
"""Prefix of everything unfinished; a name with it is never read and may be removed at any time by its owner."""


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path` atomically and durably; folders on the way are made."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Put UTF-8 `content` at `path` atomically and durably."""
    write_bytes(path, content.encode())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; on a clean exit the file written there is synced and renamed to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}-{path.name}")
    try:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def move_folder(source: Path, target: Path) -> None:
    """Make `source` appear as `target` in one rename, its files synced; works across file systems.

    An existing `target` is left alone and `source` is removed: equal names mean equal content here.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}-{target.name}")
    try:
        shutil.move(source, staged)
        for file in sorted(staged.rglob("*")):
            if file.is_file() and not file.is_symlink():
                sync_file(file)
        if not target.exists():
            staged.rename(target)
            sync_folder(target.parent)
    except OSError:
        # Another writer's folder may have come between the look and the rename.
        if not target.exists():
            raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Held by one thread of one process at a time, whoever else waits; the kernel frees it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sync_file(path: Path) -> None:
    """Return when the file's content is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Return when the folder's entries (renames) are on disk."""
    sync_file(path)
