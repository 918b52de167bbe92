"""A tree as a git repository of one orphan commit: no history, no other refs, no reflog, and not an object more than it needs.

Made without git, so that equal trees have equal commits wherever they are made. Sources: git's documents on objects
(`gitformat-loose`, "Git Objects") and the index (`gitformat-index`, version 2).
"""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
import zlib
from collections.abc import Mapping
from typing import NamedTuple

BRANCH = "main"
_WHO = "forge <forge@localhost> 946684800 +0000"
_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = false\n"
_FILE, _FOLDER = 0o100644, 0o40000


class Repository(NamedTuple):
    """The commit's id, and the files of `.git` by path."""

    commit: str
    files: dict[str, bytes]


def repository(files: Mapping[str, bytes]) -> Repository:
    """The repository whose only commit holds `files` (POSIX paths), checked out and clean."""
    objects: dict[str, bytes] = {}
    blobs = {path.encode("utf-8", "surrogateescape"): _store(objects, b"blob", content) for path, content in files.items()}
    tree = _tree(objects, blobs)
    body = f"tree {tree}\nauthor {_WHO}\ncommitter {_WHO}\n\nThe start.\n"
    commit = _store(objects, b"commit", body.encode())
    control = {
        ".git/HEAD": f"ref: refs/heads/{BRANCH}\n".encode(),
        ".git/config": _CONFIG.encode(),
        f".git/refs/heads/{BRANCH}": f"{commit}\n".encode(),
        ".git/index": _index(blobs, {path.encode("utf-8", "surrogateescape"): len(content) for path, content in files.items()}),
    }
    return Repository(commit, control | {f".git/objects/{sha[:2]}/{sha[2:]}": packed for sha, packed in objects.items()})


def packed(files: Mapping[str, bytes]) -> bytes:
    """A tar of `files`, the same bytes each time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(files):
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(files[path]), 0o644
            tar.addfile(member, io.BytesIO(files[path]))
    return buffer.getvalue()


def _store(objects: dict[str, bytes], kind: bytes, content: bytes) -> str:
    whole = kind + b" " + str(len(content)).encode() + b"\0" + content
    sha = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
    objects[sha] = zlib.compress(whole, 1)
    return sha


def _tree(objects: dict[str, bytes], blobs: Mapping[bytes, str]) -> str:
    """Id of the tree object of these files, all objects below it stored."""
    folders: dict[bytes, dict[bytes, str]] = {}
    entries: dict[bytes, tuple[int, str]] = {}
    for path, sha in blobs.items():
        first, slash, rest = path.partition(b"/")
        if slash:
            folders.setdefault(first, {})[rest] = sha
        else:
            entries[first] = (_FILE, sha)
    entries |= {name: (_FOLDER, _tree(objects, inside)) for name, inside in folders.items()}
    # git sorts a folder as if its name ended with a slash.
    order = sorted(entries, key=lambda name: name + b"/" if entries[name][0] == _FOLDER else name)
    content = b"".join(f"{entries[name][0]:o} ".encode() + name + b"\0" + bytes.fromhex(entries[name][1]) for name in order)
    return _store(objects, b"tree", content)


def _index(blobs: Mapping[bytes, str], sizes: Mapping[bytes, int]) -> bytes:
    """The index of a clean checkout. Its times are zero: git looks at each file's content once, and then knows."""
    body = b"DIRC" + struct.pack(">II", 2, len(blobs))
    for path in sorted(blobs):
        # Times, device and inode (6 fields), mode, user and group, size.
        entry = struct.pack(">10I", *[0] * 6, _FILE, 0, 0, sizes[path]) + bytes.fromhex(blobs[path])
        entry += struct.pack(">H", min(len(path), 0xFFF)) + path
        body += entry + b"\0" * (8 - len(entry) % 8)
    return body + hashlib.sha1(body, usedforsecurity=False).digest()
