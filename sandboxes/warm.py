"""Fork servers by whose Python they are, forge's own or an environment's that can hold one, and by its hash seed.

A run of tests in an environment takes most of its time to start Python and to import pytest. A server under that very Python
has both done and forks each run. It reads no path file of a package and runs no code of a repository; what it imports is pytest.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from forge.errors import SandboxError
from forge.records import Environment, Limits
from sandboxes.client import BoxClient
from sandboxes.zygote import Launched, Zygote

KEPT = 6
"""Servers that are kept beside the first; each takes about 60 MB."""
LEAST_PYTHON, LEAST_PYTEST = (3, 11), 8
"""What the program inside needs."""


@dataclass(frozen=True)
class Program:
    """The command that a fork server is started with, the folders that it imports from beside its own, and its PYTHONHASHSEED."""

    words: tuple[str, ...]
    path: tuple[str, ...]
    hash_seed: int = 0


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
    """The fork servers of one provider. Each starts when first asked for; idle ones go, least used first."""

    def __init__(self, launch: LaunchProgram, name: str, own: Program, fork_server: tuple[str, ...]) -> None:
        """`own` is the program of forge's own Python; its server is always kept."""
        self._launch = launch
        self._name = name
        self._fork_server = fork_server
        self._own = own
        self._servers: OrderedDict[Program, Zygote] = OrderedDict()
        self._cold: set[str] = set()

    async def open(self, tree: Path, limits: Limits, environment: Environment | None = None, hash_seed: int = 0) -> BoxClient:
        """A fresh box with a copy of `tree`, of the warmest server there is for it; raises `SandboxError`."""
        warm = None if environment is None or environment.id in self._cold else program_of(environment, self._fork_server)
        if warm is not None and environment is not None:
            zygote = await self._server(replace(warm, hash_seed=hash_seed))
            try:
                return await zygote.open(tree, limits, environment, hash_seed)
            except SandboxError:
                if zygote.served:
                    raise
                # It never made a box: this environment cannot hold the program.
                self._cold.add(environment.id)
                await zygote.close()
        # A box of an environment without a server starts an interpreter for each run, whatever its server's own seed is.
        zygote = await self._server(replace(self._own, hash_seed=hash_seed if environment is None else 0))
        return await zygote.open(tree, limits, environment, hash_seed)

    async def close(self) -> None:
        """End every server and its boxes."""
        while self._servers:
            await self._servers.popitem()[1].close()

    async def _server(self, program: Program) -> Zygote:
        if program not in self._servers:
            self._servers[program] = Zygote(functools.partial(self._launch, program), self._name)
        self._servers.move_to_end(program)
        idle = [kept for kept, zygote in self._servers.items() if kept not in (program, self._own) and not zygote.busy]
        for kept in idle[: max(0, len(self._servers) - 1 - KEPT)]:
            await self._servers.pop(kept).close()
        return self._servers[program]
