"""The image that Docker boxes run in: made from nothing, or from python-slim where the host's Python cannot be mounted.

`host`: an almost empty image; the system's folders and this very Python are mounted read-only, as bubblewrap does. No
registry, no download, a tenth of a second, and the same Python and pytest as everywhere else. `slim`: python-slim with
this pytest (pure Python) copied in, for an engine on another machine or one that refuses the mounts.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.errors
import pytest

from forge.errors import SandboxError
from sandboxes.local import ETC, PROGRAM, SYSTEM, seen_folders

LABEL = "forge"
_USERS = "root:x:0:0::/:/bin/false\nwork:x:1000:1000::/tmp:/bin/sh\n"
_FOLDERS = ("box", "box/work", "box/tmp", "forge", "forge/stage", "forge/trees", "forge/control", "tmp", "etc", "proc", "dev", "sys")
_WRITABLE = ("box", "tmp", "forge/trees")
"""runc gives a tmpfs the mode of the image's folder that it covers, whatever mode is asked for."""
_PURE = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments")


@dataclass(frozen=True)
class Image:
    """An image, the Python in it, and the host folders that are mounted read-only at the same path."""

    tag: str
    python: str
    mounts: tuple[str, ...]
    program: str = "/forge/program"


def host_image(client: docker.DockerClient) -> Image:
    """The image whose system is this machine's; raises `SandboxError`."""
    links = {place: os.readlink(place) for place in SYSTEM if os.path.islink(place)}
    layout = _layout(links)
    tag = f"forge-host:{hashlib.sha256(layout).hexdigest()[:12]}"
    if not _exists(client, tag):
        try:
            said = client.api.import_image_from_data(
                layout, repository="forge-host", tag=tag.partition(":")[2], changes=[f"LABEL {LABEL}=image"]
            )
            # Podman imports it as `latest`, whatever tag is asked for.
            client.images.get(json.loads(said.splitlines()[-1])["status"]).tag("forge-host", tag.partition(":")[2])
        except docker.errors.APIError as error:
            raise SandboxError(f"the engine cannot import an image: {error.explanation}") from error
    folders = [place for place in SYSTEM if os.path.isdir(place) and place not in links]
    folders += [place for place in ETC if os.path.exists(place)]
    return Image(tag, sys.executable, (*folders, *map(str, seen_folders())))


def slim_image(client: docker.DockerClient) -> Image:
    """python-slim with this pytest, pulled and built once; raises `SandboxError`."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    base = f"python:{version}-slim"
    recipe = "\n".join(
        [
            f"FROM {base}",
            f"COPY site /usr/local/lib/python{version}/site-packages/",
            "RUN mkdir -p /box/work /box/tmp /forge/stage /forge/trees /forge/control && chmod 1777 /box /box/work /box/tmp /forge/trees",
            f"LABEL {LABEL}=image",
        ]
    )
    tag = f"forge-slim:{version}-pytest{importlib.metadata.version('pytest')}-{_program_hash()}"
    if not _exists(client, tag):
        try:
            client.images.build(fileobj=_context(recipe), custom_context=True, tag=tag, rm=True, timeout=600)
        except (docker.errors.APIError, docker.errors.BuildError) as error:
            raise SandboxError(f"cannot build a sandbox image from {base}: {error}; is a registry reachable?") from error
    return Image(tag, "/usr/local/bin/python", ())


def _program_hash() -> str:
    digest = hashlib.sha256()
    for path in sorted(PROGRAM.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _exists(client: docker.DockerClient, tag: str) -> bool:
    try:
        client.images.get(tag)
    except docker.errors.ImageNotFound:
        return False
    return True


def _layout(links: dict[str, str]) -> bytes:
    """A tar of empty folders, the links that the system's layout has, and a passwd file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in _FOLDERS:
            _add(archive, folder, tarfile.DIRTYPE)
        for place, target in links.items():
            _add(archive, place.lstrip("/"), tarfile.SYMTYPE, target=target)
        _add(archive, "etc/passwd", tarfile.REGTYPE, content=_USERS.encode())
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, kind: bytes, *, content: bytes = b"", target: str = "") -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, target, len(content)
    member.mode = 0o644 if kind == tarfile.REGTYPE else 0o1777 if name.startswith(_WRITABLE) else 0o755
    archive.addfile(member, io.BytesIO(content))


def _context(recipe: str) -> io.BytesIO:
    buffer = io.BytesIO()
    site = Path(pytest.__file__).parent.parent
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        _add(archive, "Dockerfile", tarfile.REGTYPE, content=recipe.encode())
        for name in (*_PURE, *(path.name for path in site.glob("pytest-*.dist-info"))):
            archive.add(site / name, arcname=f"site/{name}")
        archive.add(PROGRAM, arcname="site/inside")
    buffer.seek(0)
    return buffer
