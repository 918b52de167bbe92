"""Images by name on the local engine: which are there, pulled on demand, built from a context."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import docker
import docker.errors

from forge.errors import SandboxError
from sandboxes.images import LABEL

_SILENCE_S = 900
"""How long a build or a pull may say nothing."""


class ImageStore:
    """The images of one engine; raises `SandboxError` when none answers."""

    def __init__(self) -> None:
        try:
            self._client = docker.from_env(timeout=_SILENCE_S)
            self._client.ping()
        except (docker.errors.DockerException, OSError) as error:
            raise SandboxError(f"no container engine answers: {error}; start Docker's or Podman's, or set DOCKER_HOST") from error

    def identity(self, name: str) -> str | None:
        """The image's content id, `None` when it is not there."""
        try:
            return str(self._client.images.get(name).id)
        except docker.errors.ImageNotFound:
            return None
        except (docker.errors.DockerException, OSError) as error:
            raise SandboxError(f"the container engine cannot look for {name}: {error}") from error

    def missing(self, names: Collection[str]) -> list[str]:
        """Those of `names` that are not there, each once, in their order."""
        return [name for name in dict.fromkeys(names) if self.identity(name) is None]

    def pull(self, name: str, told: Callable[[int, int], None]) -> None:
        """Fetch an image. `told` gets the bytes so far and those known to come: registries tell a layer's size as it starts."""
        try:
            for done, total in _layers(self._client.api.pull(name, stream=True, decode=True), name):
                told(done, total)
        except (docker.errors.DockerException, OSError) as error:
            raise SandboxError(f"cannot pull {name}: {_words(error)}") from error

    def build(self, name: str, files: Mapping[str, bytes]) -> None:
        """Build an image from a context: a `Dockerfile` and what it adds. It carries forge's label.

        Its steps get no network; only when one fails are they run once more with the engine's own.
        """
        context = _context(files)
        try:
            self._build(name, context, "none")
        except SandboxError:
            self._build(name, context, None)

    def _build(self, name: str, context: bytes, network: str | None) -> None:
        about = {"custom_context": True, "tag": name, "rm": True, "forcerm": True, "labels": {LABEL: "image"}}
        try:
            self._client.images.build(fileobj=io.BytesIO(context), network_mode=network, **about)
        except docker.errors.BuildError as error:
            said = [line["stream"].strip() for line in error.build_log if line.get("stream", "").strip()]
            raise SandboxError(f"cannot build {name}: {error.msg}" + (f" ({said[-1]})" if said else "")) from error
        except (docker.errors.DockerException, OSError) as error:
            raise SandboxError(f"cannot build {name}: {_words(error)}") from error

    def close(self) -> None:
        """Let go of the engine."""
        self._client.close()


def _layers(events: Iterable[Mapping[str, Any]], name: str) -> Iterable[tuple[int, int]]:
    """(bytes so far, bytes known to come) after each event of a pull."""
    layers: dict[str, tuple[int, int]] = {}
    for event in events:
        if "error" in event:
            raise SandboxError(f"cannot pull {name}: {event['error']}")
        detail = event.get("progressDetail") or {}
        if event.get("status") == "Downloading" and "current" in detail:
            layers[str(event.get("id"))] = (int(detail["current"]), int(detail.get("total") or detail["current"]))
            yield sum(done for done, _ in layers.values()), sum(total for _, total in layers.values())


def _context(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _words(error: Exception) -> str:
    return str(getattr(error, "explanation", None) or error).splitlines()[0]
