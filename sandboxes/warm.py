"""Fork servers by whose Python they are: forge's own, and those of environments that can hold one.

A run of tests in an environment takes most of its time to start Python and to import pytest. A server under that very Python
has both done and forks each run. It reads no path file of a package and runs no code of a repository; what it imports is pytest.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from forge.errors import SandboxError
from forge.records import Environment, Limits
from sandboxes.client import BoxClient
from sandboxes.zygote import Launched, Zygote

KEPT = 3
"""Servers of environments that are kept; each takes about 60 MB."""
LEAST_PYTHON, LEAST_PYTEST = (3, 11), 8
"""What the program inside needs."""


@dataclass(frozen=True)
class Program:
    """The command that a fork server is started with, and the folders that it imports from beside its own."""

    words: tuple[str, ...]
    path: tuple[str, ...]


LaunchProgram = Callable[[Program, IO[bytes]], Awaitable[Launched]]


def program_of(environment: Environment, fork_server: tuple[str, ...]) -> Program | None:
    """The program of an environment's fork server; `None` when its Python or its pytest is too old, or it has plugins."""
    version = tuple(int(part) for part in environment.spec.python.split("."))
    pytest = next((line.partition("==")[2] for line in environment.installed if line.startswith("pytest==")), "0")
    if version < LEAST_PYTHON or int(pytest.split(".")[0]) < LEAST_PYTEST or environment.plugins:
        return None
    site = Path(environment.interpreter).parent.parent / "lib" / f"python{environment.spec.python}" / "site-packages"
    # Without `site` no path file is read, by which a package could run code in the server.
    return Program((environment.interpreter, "-S", *fork_server), (str(site),))


class Zygotes:
    """The fork servers of one provider. Servers of environments start when first asked for; idle ones go, least used first."""

    def __init__(self, launch: LaunchProgram, name: str, own: Program, fork_server: tuple[str, ...]) -> None:
        self._launch = launch
        self._name = name
        self._fork_server = fork_server
        self._own = Zygote(functools.partial(launch, own), name)
        self._warm: OrderedDict[str, Zygote] = OrderedDict()
        self._cold: set[str] = set()

    async def open(self, tree: Path, limits: Limits, environment: Environment | None = None) -> BoxClient:
        """A fresh box with a copy of `tree`, of the warmest server there is for it; raises `SandboxError`."""
        zygote = await self._warmest(environment)
        if zygote is not None and environment is not None:
            try:
                return await zygote.open(tree, limits, environment)
            except SandboxError:
                if zygote.served:
                    raise
                # It never made a box: this environment cannot hold the program.
                self._cold.add(environment.id)
                await zygote.close()
        return await self._own.open(tree, limits, environment)

    async def close(self) -> None:
        """End every server and its boxes."""
        for zygote in (self._own, *self._warm.values()):
            await zygote.close()
        self._warm.clear()

    async def _warmest(self, environment: Environment | None) -> Zygote | None:
        if environment is None or environment.id in self._cold:
            return None
        program = program_of(environment, self._fork_server)
        if program is None:
            return None
        if environment.id not in self._warm:
            self._warm[environment.id] = Zygote(functools.partial(self._launch, program), self._name)
        self._warm.move_to_end(environment.id)
        idle = [name for name, zygote in self._warm.items() if name != environment.id and not zygote.busy]
        for name in idle[: max(0, len(self._warm) - KEPT)]:
            await self._warm.pop(name).close()
        return self._warm[environment.id]
