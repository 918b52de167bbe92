"""Where the agent's work tree comes from: an archive that was sent, a git address, or a folder that the configuration allows.

Everything ends as plain files in a folder of its own. Archives are read by hand: no links, no devices, no path that leaves the
folder, and no more files or bytes than the limits say, whatever the archive claims of itself.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from forge.errors import ConfigError

MAX_FILES = 20_000
MAX_BYTES = 256 * 2**20
MAX_FILE_BYTES = 4 * 2**20
"""Larger files are left out: the agent reads sources."""
CLONE_S = 120.0
_GIT = ("-c", "protocol.allow=never", "-c", "protocol.https.allow=always", "-c", "protocol.http.allow=always", "-c", "core.symlinks=false",
        "-c", "core.hooksPath=/dev/null", "-c", "credential.helper=", "-c", "http.followRedirects=false")  # fmt: skip


def unpack(archive: bytes, into: Path) -> int:
    """Number of files of a (gzipped) tar that are now in `into`; raises `ConfigError` for one that is broken, too large or leaves it."""
    count = size = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:*") as tar:
            for member in tar:
                count += 1
                size += member.size if member.isfile() else 0
                if count > MAX_FILES or size > MAX_BYTES:
                    raise ConfigError(
                        f"the archive holds more than {MAX_FILES:,} files or {MAX_BYTES // 2**20} MiB; leave out what is no source"
                    )
                path = _inside(member.name)
                if not member.isfile() or path is None or member.size > MAX_FILE_BYTES:
                    if path is None and not member.isdir():
                        raise ConfigError(f"the archive has a path that leaves it: {member.name[:200]!r}")
                    continue
                stream = tar.extractfile(member)
                if stream is not None:
                    _write(into / path, stream.read(MAX_FILE_BYTES))
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, OverflowError) as error:
        raise ConfigError(f"the archive cannot be read: {error}; send a tar or tar.gz of the repository") from error
    return count


def copy(folder: Path, into: Path) -> None:
    """The plain files of a folder, its `.git` left out; links are not followed."""
    folder, count, size = folder.resolve(), 0, 0
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != ".git" and not (Path(root) / name).is_symlink()]
        for name in files:
            source = Path(root) / name
            if source.is_symlink() or not source.is_file() or (length := source.stat().st_size) > MAX_FILE_BYTES:
                continue
            count, size = count + 1, size + length
            if count > MAX_FILES or size > MAX_BYTES:
                raise ConfigError(f"{folder} holds more than {MAX_FILES:,} files or {MAX_BYTES // 2**20} MiB")
            target = into / source.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


async def clone(address: str, into: Path) -> None:
    """The newest tree of a git address, by http or https alone; raises `ConfigError` when git cannot have it."""
    argv = ["git", *_GIT, "clone", "--quiet", "--depth", "1", "--no-tags", "--", address, str(into)]
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": str(into.parent),
    }
    process = await asyncio.create_subprocess_exec(
        *argv, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), CLONE_S)
    except TimeoutError as error:
        process.kill()
        raise ConfigError(f"{address} was not cloned within {CLONE_S:.0f} s") from error
    if process.returncode:
        last = (said.decode(errors="replace").strip().splitlines() or ["git said nothing"])[-1][:200]
        raise ConfigError(f"{address} cannot be cloned: {last}")
    shutil.rmtree(into / ".git", ignore_errors=True)


def allowed(repository: str, listed: Sequence[str]) -> bool:
    """Whether the configuration lets the agent work on this address or folder: it, or a prefix that ends in /, is listed."""
    if "\x00" in repository:
        return False
    if "://" not in repository:
        repository = os.path.realpath(repository)
    return any(repository == entry or (entry.endswith("/") and repository.startswith(entry)) for entry in listed)


def _inside(name: str) -> PurePosixPath | None:
    """The path relative to the archive's root, `None` for one that leaves it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\x00" in name or not path.parts:
        return None
    return path


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
