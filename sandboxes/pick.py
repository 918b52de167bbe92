"""Which sandbox this machine can have: Docker when an engine answers, else bubblewrap, else confined; and why."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from forge.errors import EnvironmentLackError, SandboxError
from forge.records import Limits
from forge.seams import SandboxProvider
from sandboxes.confined import ConfinedProvider, layers
from sandboxes.docker import DockerProvider, engine_problem
from sandboxes.local import LocalProvider

Kind = Literal["auto", "docker", "bubblewrap", "confined"]
_SWITCHES = {
    "/proc/sys/kernel/unprivileged_userns_clone": ("0", "set kernel.unprivileged_userns_clone=1 with sysctl"),
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": ("1", "set kernel.apparmor_restrict_unprivileged_userns=0 with sysctl"),
    "/proc/sys/user/max_user_namespaces": ("0", "raise user.max_user_namespaces with sysctl"),
}


@dataclass(frozen=True)
class Finding:
    """One kind of sandbox on this machine: `detail` says what was found, `cure` how to get it when it lacks."""

    kind: str
    found: bool
    detail: str
    cure: str = ""


@dataclass(frozen=True)
class Choice:
    """The sandbox to use. `make` gives a new provider, to be closed by whoever calls it."""

    name: str
    why: str
    trusted_only: bool
    make: Callable[[], SandboxProvider]


def pick(kind: Kind = "auto") -> Choice:
    """The sandbox for `kind`; raises `EnvironmentLackError` when the machine cannot give it."""
    lacks: list[str] = []
    for name in ("docker", "bubblewrap", "confined") if kind == "auto" else (kind,):
        finding = _PROBES[name]()
        if finding.found:
            why = "; ".join([finding.detail, *lacks]) if kind == "auto" else f"configured; {finding.detail}"
            return Choice(name=name, why=why, trusted_only=_PROVIDERS[name].trusted_only, make=_PROVIDERS[name])
        if kind != "auto":
            raise EnvironmentLackError(f"sandbox.kind is '{kind}', but {finding.detail}; {finding.cure}, or set sandbox.kind=auto")
        lacks.append(finding.detail)
    raise EnvironmentLackError(f"no sandbox works here: {'; '.join(lacks)}; {_PROBES['bubblewrap']().cure}")


def probe() -> list[Finding]:
    """What every kind of sandbox finds on this machine, best first. Takes about a second, leaves nothing behind."""
    return [look() for look in _PROBES.values()]


def _docker() -> Finding:
    problem = engine_problem()
    if problem:
        cure = "start Docker's or Podman's engine, or point DOCKER_HOST at its socket"
        return Finding("docker", False, f"no container engine answers ({problem})", cure)
    return Finding("docker", True, "a container engine answers")


def _bubblewrap() -> Finding:
    if shutil.which("bwrap") is None:
        return Finding("bubblewrap", False, "bubblewrap is not installed", "install the package 'bubblewrap'")
    problem = _trial(LocalProvider)
    if problem:
        return Finding("bubblewrap", False, f"bubblewrap makes no box here ({problem})", _cure_for_namespaces())
    return Finding("bubblewrap", True, "bubblewrap and namespaces work here")


def _confined() -> Finding:
    problem = _trial(ConfinedProvider)
    words = "; ".join(f"{name}: {what}" for name, what in layers().items())
    if problem:
        return Finding("confined", False, f"a confined process cannot be made here ({problem})", "use a Linux machine with Python 3.11")
    return Finding("confined", True, f"confined processes, for generated practice repositories only ({words})")


def _trial(provider: Callable[[], SandboxProvider]) -> str:
    """Open a box for real, in a loop of its own; what went wrong, or nothing."""

    async def attempt(tree: Path) -> None:
        made = provider()
        try:
            box = await made.open(tree, limits=Limits(), run_id="probe")
            await box.close()
        finally:
            await made.close()

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
        try:
            thread.submit(lambda: asyncio.run(attempt(Path(folder)))).result()
        except (SandboxError, OSError) as error:
            return str(error).replace("; open a fresh one", "").replace("; open a fresh box", "")
    return ""


def _cure_for_namespaces() -> str:
    for path, (bad, cure) in _SWITCHES.items():
        if os.path.exists(path) and Path(path).read_text().strip() == bad:
            return cure
    if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv"):
        return "run this container with --security-opt seccomp=unconfined --security-opt systempaths=unconfined"
    return "allow unprivileged user namespaces on this machine"


_PROBES: dict[str, Callable[[], Finding]] = {"docker": _docker, "bubblewrap": _bubblewrap, "confined": _confined}
_PROVIDERS: dict[str, type[DockerProvider] | type[LocalProvider] | type[ConfinedProvider]] = {
    "docker": DockerProvider,
    "bubblewrap": LocalProvider,
    "confined": ConfinedProvider,
}
