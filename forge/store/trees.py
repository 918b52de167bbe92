"""Content-addressed snapshots of repository trees: files in, a hash out; the hash in, a read-only folder out.

A snapshot is a compressed tar `<hash>.tar.gz`; the folder it unpacks to lies beside it and is made once.
The hash is over paths and contents only, so equal trees are one snapshot whatever made them.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tarfile
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from forge.errors import StoreError
from forge.store import atomic


class TreeStore:
    """Snapshots under one folder. Any number of processes may read and write it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, files: Mapping[str, bytes]) -> str:
        """Hash of the tree of `files` (POSIX paths relative to its root), stored when it is new.

        Raises `StoreError` for a path that is absolute, empty or climbs out.
        """
        digest = tree_hash(files)
        archive = self.archive(digest)
        if not archive.exists():
            atomic.write_bytes(archive, _pack(files))
        return digest

    def has(self, digest: str) -> bool:
        """Whether the snapshot is stored."""
        return self.archive(digest).exists()

    def archive(self, digest: str) -> Path:
        """Where the snapshot's tar lies, stored or not."""
        return self.root / f"{digest}.tar.gz"

    def files(self, digest: str) -> dict[str, bytes]:
        """Path and content of every file of a snapshot; raises `StoreError` when it is missing or damaged."""
        try:
            with tarfile.open(self.archive(digest), "r:gz") as tar:
                found = {member.name: stream.read() for member in tar if (stream := tar.extractfile(member)) is not None}
        except (OSError, tarfile.TarError, EOFError) as error:
            raise StoreError(f"the tree {digest[:12]} cannot be read from {self.root}: {error}; run the mining again") from error
        if tree_hash(found) != digest:
            raise StoreError(f"the tree {digest[:12]} in {self.root} does not match its hash; delete it and run the mining again")
        return found

    def folder(self, digest: str) -> Path:
        """The unpacked snapshot: a folder that is complete and not writable. Made on the first call."""
        folder = self.root / digest
        if folder.is_dir():
            return folder
        staged = self.root / f"{atomic.TEMPORARY}{uuid.uuid4().hex}"
        try:
            _unpack(self.files(digest), staged)
            staged.rename(folder)
        except OSError as error:
            if not folder.is_dir():
                raise StoreError(f"cannot unpack the tree {digest[:12]} to {folder}: {error}") from error
        finally:
            _remove(staged)
        folder.chmod(0o555)
        return folder


def tree_hash(files: Mapping[str, bytes]) -> str:
    """Hex SHA-256 over the sorted paths and the hashes of their contents."""
    digest = hashlib.sha256(b"forge-tree:1\n")
    for path in sorted(files):
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or str(PurePosixPath(path)) != path or path == ".":
            raise StoreError(f"{path!r} is not a plain path inside a repository")
        name = path.encode("utf-8", "surrogateescape")
        digest.update(len(name).to_bytes(8, "big") + name + hashlib.sha256(files[path]).digest())
    return digest.hexdigest()


def _pack(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for path in sorted(files):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(files[path]), 0o644
            tar.addfile(member, io.BytesIO(files[path]))
    return buffer.getvalue()


def _unpack(files: Mapping[str, bytes], folder: Path) -> None:
    folder.mkdir(parents=True)
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(0o444)
    for inner in sorted((entry for entry in folder.rglob("*") if entry.is_dir()), reverse=True):
        inner.chmod(0o555)


def _remove(folder: Path) -> None:
    """Delete a staged folder, read-only parts included; nothing happens when it is not there."""
    if folder.exists():
        for inner in [folder, *(entry for entry in folder.rglob("*") if entry.is_dir())]:
            inner.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
