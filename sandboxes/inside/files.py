"""Reading and writing in a work tree that boxed code may have filled with traps (links, pipes, folders as files)."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Sequence
from typing import IO


class RefusedError(Exception):
    """A path that leads out of the work tree, or cannot be written; the box itself is well."""


def write(work: str, files: Sequence[tuple[str, str | None]]) -> None:
    """Put each (path, content) in place, `None` deletes; raises `RefusedError`. A link is replaced, never followed."""
    for path, content in files:
        place = _inside(work, path)
        try:
            if content is None or not _is_regular(place):
                _remove(place)
            if content is not None:
                _make_folders(work, os.path.dirname(place))
                with open(place, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                    file.write(content)
        except OSError as error:
            raise RefusedError(f"cannot write {path}: {error.strerror}") from error


def read(work: str, path: str) -> str | None:
    """Text of a regular file, bytes that are no UTF-8 replaced; `None` if there is none. Raises `RefusedError`."""
    place = _inside(work, path)
    if not _is_regular(place):
        return None
    with open(place, encoding="utf-8", errors="replace", newline="") as file:
        return file.read()


def unpack(tar: IO[bytes], target: str) -> None:
    """Unpack a tar that the host made (plain files, folders and links, no path under a link) into a folder."""
    os.makedirs(target, exist_ok=True)
    with tarfile.open(fileobj=tar, mode="r:") as archive:
        if hasattr(tarfile, "tar_filter"):
            archive.extractall(target, filter="tar")
        else:  # Python before 3.11.4
            archive.extractall(target)  # noqa: S202


def copy_tree(source: str, target: str) -> None:
    """Copy a pristine tree, links as links, times kept."""
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


def give(folder: str, uid: int) -> None:
    """Make `uid` the owner of `folder` and all that is in it."""
    for parent, folders, names in os.walk(folder):
        os.chown(parent, uid, uid)
        for name in (*folders, *names):
            os.lchown(os.path.join(parent, name), uid, uid)


def used_bytes(folder: int) -> int:
    """Bytes in use of the file system that the open `folder` is on; for a part of one see `folder_bytes`."""
    facts = os.statvfs(folder)
    return (facts.f_blocks - facts.f_bfree) * facts.f_frsize


def folder_bytes(folder: str) -> int:
    """Bytes that the files under `folder` take."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except OSError:
                continue
    return total


def _inside(work: str, path: str) -> str:
    """Absolute place of `path`, every folder on the way really under `work`."""
    parts = path.split("/")
    if not path or path.startswith("/") or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise RefusedError(f"the path {path!r} leaves the work tree or is not a plain relative path")
    parent = os.path.realpath(os.path.join(work, *parts[:-1]))
    root = os.path.realpath(work)
    if parent != root and not parent.startswith(root + "/"):
        raise RefusedError(f"the path {path!r} leads out of the work tree through a link")
    return os.path.join(parent, parts[-1])


def _make_folders(work: str, folder: str) -> None:
    """Make `folder` below `work`; a file that stands in the way is replaced, as a patch would."""
    place = os.path.realpath(work)
    for part in os.path.relpath(folder, place).split("/"):
        place = os.path.join(place, part)
        if not os.path.isdir(place):
            _remove(place)
            os.mkdir(place)


def _is_regular(place: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(place).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _remove(place: str) -> None:
    try:
        if stat.S_ISDIR(os.lstat(place).st_mode):
            shutil.rmtree(place)
        else:
            os.unlink(place)
    except (FileNotFoundError, NotADirectoryError):
        pass
