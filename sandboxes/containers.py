"""Containers of this run: the profile they are started with, their labels, and the sweep of what dead runs left."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import docker
import docker.errors
from docker.models.containers import Container

from forge.errors import SandboxError
from sandboxes.images import LABEL, Image
from sandboxes.local import PROGRAM
from sandboxes.owners import owner_is_dead, owner_mark

_OWNER, _RUN = "forge.owner", "forge.run"


def create(
    client: docker.DockerClient, image: Image, command: Sequence[str], *, run_id: str, mounts: Mapping[str, str], profile: Mapping[str, Any]
) -> Container:
    """A container that removes itself when it ends, not started yet; `mounts` are host path → path, read-only. Raises `SandboxError`."""
    volumes = {path: {"bind": path, "mode": "ro"} for path in image.mounts}
    volumes |= {source: {"bind": target, "mode": "ro"} for source, target in mounts.items()}
    if image.mounts:
        volumes[str(PROGRAM)] = {"bind": f"{image.program}/inside", "mode": "ro"}
    try:
        return client.containers.create(
            image.tag,
            list(command),
            volumes=volumes,
            environment=_environment(image),
            labels={LABEL: "box", _RUN: run_id, _OWNER: owner_mark()},
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            auto_remove=True,
            stdin_open=True,
            log_config={"type": "none"},
            working_dir="/",
            **profile,
        )
    except (docker.errors.DockerException, OSError) as error:
        raise SandboxError(f"the container engine cannot make a box: {error}") from error


def start(container: Container) -> Container:
    """The same container, running; raises `SandboxError`."""
    try:
        container.start()
    except (docker.errors.DockerException, OSError) as error:
        raise SandboxError(f"the container engine cannot start a box: {error}") from error
    return container


def remove(container: Container) -> None:
    """Kill it and everything in it; safe when it is gone."""
    with contextlib.suppress(docker.errors.DockerException, OSError):
        container.remove(force=True)


def sweep(client: docker.DockerClient) -> int:
    """Remove forge's containers whose owner died; returns how many."""
    removed = 0
    for container in client.containers.list(all=True, filters={"label": f"{LABEL}=box"}):
        if owner_is_dead(container.labels.get(_OWNER, "")):
            remove(container)
            removed += 1
    return removed


def security(client: docker.DockerClient, *, namespaces: bool) -> list[str]:
    """Security options. A container that holds namespaced boxes may make namespaces; its boxes then filter more than Docker does."""
    options = ["no-new-privileges"]
    if namespaces:
        options += ["seccomp=unconfined", "systempaths=unconfined"]
        if any("apparmor" in option for option in client.info().get("SecurityOptions") or []):
            options.append("apparmor=unconfined")
    return options


def _environment(image: Image) -> dict[str, str]:
    variables = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8", "TMPDIR": "/forge/trees"}
    return variables | ({"PYTHONPATH": image.program} if image.mounts else {})
