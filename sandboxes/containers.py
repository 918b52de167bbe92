"""Containers of this run: the profile they are started with, their labels, and the sweep of what dead runs left."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import docker
import docker.errors

from forge.errors import SandboxError
from sandboxes.images import LABEL, Image
from sandboxes.local import PROGRAM, extra_path
from sandboxes.owners import owner_is_dead, owner_mark

OWNER_LABEL, RUN_LABEL = "forge.owner", "forge.run"
_CLOSED = {"/run": "ro,size=4k", "/var/tmp": "ro,size=4k"}
"""Podman puts file systems without a limit there, beside a read-only root."""
NOT_LOGGED: Any = {"Type": "none", "Config": {}}


def create(
    client: docker.DockerClient,
    image: Image,
    command: Sequence[str],
    *,
    run_id: str,
    user: str,
    namespaces: bool,
    mounts: Mapping[str, str],
    tmpfs: Mapping[str, str],
    limits: Mapping[str, Any],
    path: Sequence[str] | None = None,
    hash_seed: int = 0,
) -> str:
    """Id of a container that removes itself when it ends, not started yet; raises `SandboxError`.

    `mounts` are host path → path, read-only, `tmpfs` path → mount options. `limits` are arguments of docker-py's `create_host_config`. With
    `path` are folders to import from beside the program, this Python's own when not given. With
    `namespaces` it may make namespaces and mount in them, which the boxes it holds then give up; see `inside.seccomp`.
    """
    binds = {path: {"bind": path, "mode": "ro"} for path in image.mounts}
    binds |= {source: {"bind": target, "mode": "ro"} for source, target in mounts.items()}
    if image.mounts:
        binds[str(PROGRAM)] = {"bind": f"{image.program}/inside", "mode": "ro"}
    try:
        host = client.api.create_host_config(
            binds=binds,
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            auto_remove=True,
            log_config=NOT_LOGGED,
            security_opt=_security(client, namespaces=namespaces),
            tmpfs={**tmpfs, **_CLOSED},
            **limits,
        )
        if namespaces:
            host |= {"MaskedPaths": [], "ReadonlyPaths": []}
        made = client.api.create_container(
            image.tag,
            list(command),
            user=user,
            environment=_environment(image, extra_path() if path is None else path, hash_seed),
            labels={LABEL: "box", RUN_LABEL: run_id, OWNER_LABEL: owner_mark()},
            stdin_open=True,
            working_dir="/",
            host_config=host,
        )
        return str(made["Id"])
    except (docker.errors.DockerException, OSError) as error:
        raise SandboxError(f"the container engine cannot make a box: {error}") from error


def start(client: docker.DockerClient, container: str) -> None:
    """Let it run; raises `SandboxError`."""
    try:
        client.api.start(container)
    except (docker.errors.DockerException, OSError) as error:
        raise SandboxError(f"the container engine cannot start a box: {error}") from error


def remove(client: docker.DockerClient, container: str) -> None:
    """Kill it and everything in it; safe when it is gone."""
    with contextlib.suppress(docker.errors.DockerException, OSError):
        client.api.remove_container(container, force=True)


def sweep(client: docker.DockerClient) -> int:
    """Remove forge's containers whose owner died; returns how many."""
    dead = [
        found["Id"]
        for found in client.api.containers(all=True, filters={"label": f"{LABEL}=box"})
        if owner_is_dead(found["Labels"].get(OWNER_LABEL, ""))
    ]
    for container in dead:
        remove(client, container)
    return len(dead)


def remove_own(client: docker.DockerClient, run_id: str) -> None:
    """Remove the containers that this very process has of a run."""
    labels = [f"{RUN_LABEL}={run_id}", f"{OWNER_LABEL}={owner_mark()}"]
    with contextlib.suppress(docker.errors.DockerException, OSError):
        for found in client.api.containers(all=True, filters={"label": labels}):
            remove(client, found["Id"])


def _security(client: docker.DockerClient, *, namespaces: bool) -> list[str]:
    options = ["no-new-privileges"]
    if namespaces:
        options.append("seccomp=unconfined")
        if any("apparmor" in option for option in client.info().get("SecurityOptions") or []):
            options.append("apparmor=unconfined")
        # Podman knows no MaskedPaths in Docker's language.
        if any("Podman" in part["Name"] for part in client.version().get("Components") or []):
            options.append("unmask=ALL")
    return options


def _environment(image: Image, path: Sequence[str], hash_seed: int) -> dict[str, str]:
    variables = {"PYTHONHASHSEED": str(hash_seed), "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8", "TMPDIR": "/forge/trees"}
    return variables | ({"PYTHONPATH": os.pathsep.join([image.program, *path])} if image.mounts else {})
