"""The work tree that an image holds, unpacked here without running anything of it: regular files, no links, no history."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import IO

import docker
import docker.errors

from forge.errors import SandboxError
from sandboxes import containers
from sandboxes.images import LABEL
from sandboxes.owners import owner_mark

_ENGINE_S = 300
_CHUNK = 2**20


def unpack_image(image: str, folder: str, into: Path, *, run_id: str) -> None:
    """The files of `folder` of an image in the new folder `into`; raises `SandboxError`.

    The container that they are read from never starts.
    """
    client = None
    try:
        client = docker.from_env(timeout=_ENGINE_S)
        labels = {LABEL: "box", containers.RUN_LABEL: run_id, containers.OWNER_LABEL: owner_mark()}
        made = client.api.create_container(image, command=["true"], labels=labels, network_disabled=True)
        try:
            stream, _ = client.api.get_archive(made["Id"], folder, chunk_size=_CHUNK)
            with tempfile.TemporaryFile() as archive:
                for chunk in stream:
                    archive.write(chunk)
                archive.seek(0)
                unpack(archive, into)
        finally:
            containers.remove(client, made["Id"])
    except (docker.errors.DockerException, OSError, tarfile.TarError) as error:
        raise SandboxError(f"cannot take {folder} out of the image {image}: {error}") from error
    finally:
        if client is not None:
            client.close()


def unpack(archive: IO[bytes], into: Path) -> None:
    """An engine's tar of one folder, without the folder's own name; members that are no plain file or lie in `.git` are left out."""
    into.mkdir(parents=True)
    with tarfile.open(fileobj=archive) as tar:
        tar.extractall(into, list(_members(tar)), filter="data")


def _members(tar: tarfile.TarFile) -> Iterable[tarfile.TarInfo]:
    for member in tar:
        path = PurePosixPath(member.name)
        inside = PurePosixPath(*path.parts[1:])
        if member.isreg() and inside.parts and ".git" not in inside.parts:
            member.name = str(inside)
            yield member
