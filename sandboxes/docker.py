"""Boxes in containers of Docker, or of Podman through its socket.

Two ways, the first that works here:
  shared  one locked-down container holds a fork server, every box is a fresh clone of it in namespaces of its own: as
          many boxes a second as bubblewrap, with the container's cgroup and root as a second wall.
  single  one fresh container per box, started ahead of need by a bounded pool: where a container may not make namespaces.
Guards: as bubblewrap does, and the engine's cgroups bound memory and processes of all boxes together.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Literal, TypeVar

import docker
import docker.errors

from forge.errors import SandboxError
from forge.records import Environment, Limits
from forge.seams import Sandbox
from sandboxes import containers
from sandboxes.images import Image, host_image, slim_image
from sandboxes.local import FORK_SERVER, own_program, private_folders, unprivileged_uids
from sandboxes.owners import owned_folder, sweep_folders
from sandboxes.pool import ContainerPool
from sandboxes.warm import Program, Zygotes
from sandboxes.zygote import Launched

Way = Literal["auto", "shared", "single"]
T = TypeVar("T")
ENGINE_S = 60
_START_S = 60.0
_PREFIX = "forge-docker-"
_SHARED_PIDS = 8192
_SHARED_MEMORY = 8 * 2**30
_TREES_BYTES = 2 * 2**30


class DockerProvider:
    """Boxes in containers. Implements `forge.seams.SandboxProvider`."""

    name = "docker"
    trusted_only = False

    def __init__(self, way: Way = "auto", *, ahead: int = 2) -> None:
        """`ahead`: containers that the `single` way keeps started before they are asked for."""
        self._way = way
        self._ahead = ahead
        self._run_id = ""
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="docker")
        self._client: docker.DockerClient | None = None
        self._image: Image | None = None
        self._zygotes = Zygotes(self._launch, self.name, own_program(), FORK_SERVER)
        self._pool: ContainerPool | None = None
        self.refused_shared = ""

    async def open(self, tree: Path, *, limits: Limits, run_id: str, environment: Environment | None = None, hash_seed: int = 0) -> Sandbox:
        """See `forge.seams.SandboxProvider.open`. Containers carry `run_id` and their owner as labels."""
        self._run_id = run_id
        if self._way != "single":
            try:
                box = await self._zygotes.open(tree, limits, environment, hash_seed)
                self._way = "shared"
                return box
            except SandboxError as error:
                if self._way == "shared":
                    raise
                await self._zygotes.close()
                self._way, self.refused_shared = "single", str(error)
        if self._pool is None:
            client, image = await self._call(self._ready)
            self._pool = ContainerPool(client, image, self._threads, ahead=self._ahead)
        return await self._pool.open(tree, limits, run_id, environment, hash_seed)

    async def sweep(self) -> int:
        """Remove containers and folders whose owner process died; returns how many."""
        folders = sweep_folders(_PREFIX, Path(tempfile.gettempdir()))
        return folders + await self._call(lambda: containers.sweep(self._engine()))

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
        await self._zygotes.close()
        if self._client is not None:
            self._client.close()
            self._client = None
        self._pool = None

    @property
    def way(self) -> Way:
        """Which of the two ways is used; `auto` before the first box."""
        return self._way

    async def _call(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def _engine(self) -> docker.DockerClient:
        if self._client is None:
            try:
                self._client = docker.from_env(timeout=ENGINE_S)
            except docker.errors.DockerException as error:
                raise SandboxError(f"no container engine answers: {error}") from error
        return self._client

    def _ready(self) -> tuple[docker.DockerClient, Image]:
        client = self._engine()
        if self._image is None:
            self._image = host_image(client) if _is_local() else slim_image(client)
        return client, self._image

    async def _launch(self, program: Program, errors: IO[bytes]) -> Launched:
        return await self._call(lambda: self._start_shared(program))

    def _start_shared(self, program: Program) -> Launched:
        """Start the container that holds the fork server, and wait until it connects to our socket."""
        client, image = self._ready()
        folder = owned_folder(_PREFIX, Path(tempfile.gettempdir()))
        folder.chmod(0o755)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        container = None
        try:
            with listener:
                listener.bind(f"{folder}/socket")
                os.chmod(f"{folder}/socket", 0o666)
                listener.listen(1)
                listener.settimeout(_START_S)
                uid = unprivileged_uids()
                words = program.words if image.mounts else (image.python, *FORK_SERVER)
                command = [*words, "--control", "/forge/control/socket", *private_folders()]
                container = containers.create(
                    client,
                    image,
                    command,
                    run_id=self._run_id,
                    user=f"{uid}:{uid}",
                    namespaces=True,
                    mounts={str(folder): "/forge/control"},
                    path=program.path,
                    hash_seed=program.hash_seed,
                    tmpfs={"/tmp": "ro,size=1m,mode=1777", "/forge/trees": f"size={_TREES_BYTES},mode=1777"},
                    limits={
                        "mem_limit": _SHARED_MEMORY,
                        "memswap_limit": _SHARED_MEMORY,
                        "pids_limit": _SHARED_PIDS,
                    },
                )
                containers.start(client, container)
                control, _ = listener.accept()
        except BaseException as error:
            if container is not None:
                containers.remove(client, container)
            if isinstance(error, TimeoutError):
                raise SandboxError(f"the fork server in the container did not connect within {_START_S:.0f} s") from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return Launched(control, functools.partial(containers.remove, client, container))


def engine_problem() -> str:
    """Why no container engine can be used, or nothing when one answers."""
    try:
        client = docker.from_env(timeout=3)
    except (docker.errors.DockerException, OSError) as error:
        return _short(error)
    try:
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        return _short(error)
    finally:
        client.close()
    return ""


def _short(error: Exception) -> str:
    words = str(error)
    if "No such file" in words:
        return "its socket does not exist"
    return "its socket refuses this user" if "Permission denied" in words else words.splitlines()[0][:160]


def _is_local() -> bool:
    return os.environ.get("DOCKER_HOST", "unix://").startswith("unix://")
