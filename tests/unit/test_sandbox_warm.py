"""Which fork server a box comes from; no server is started here."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import IO

import pytest

from forge.errors import SandboxError
from forge.records import Environment, EnvironmentSpec, Limits
from sandboxes.warm import KEPT, Program, Zygotes, program_of
from sandboxes.zygote import Launched

OWN = Program(("python",), ())


def environment(name: str = "env", python: str = "3.12", pytest: str = "8.3.4", plugins: tuple[str, ...] = ()) -> Environment:
    spec = EnvironmentSpec(python=python, before="2024-01-01", requirements=("pytest",))
    return Environment(id=name, spec=spec, interpreter=f"/{name}/bin/python", installed=(f"pytest=={pytest}",), plugins=plugins)


def asked(*boxes: tuple[Environment | None, int]) -> list[Program]:
    """The programs that are launched when these boxes are opened one after another and none can be had."""
    launched: list[Program] = []

    async def launch(program: Program, errors: IO[bytes]) -> Launched:
        launched.append(program)
        raise SandboxError("no server here")

    async def body() -> None:
        zygotes = Zygotes(launch, "test", OWN, ("-m", "inside"))
        for where, seed in boxes:
            with pytest.raises(SandboxError, match="no server here"):
                await zygotes.open(Path("/tree"), Limits(), where, seed)
        await zygotes.close()

    asyncio.run(body())
    return launched


def test_only_an_environment_that_can_hold_the_server_has_one() -> None:
    assert program_of(environment(), ("-m", "inside")) == Program(
        ("/env/bin/python", "-S", "-m", "inside"), ("/env/lib/python3.12/site-packages",)
    )
    for unfit in (environment(python="3.10"), environment(pytest="7.4.4"), environment(plugins=("pytest_asyncio",))):
        assert program_of(unfit, ()) is None


def test_each_hash_seed_has_a_server_of_its_own() -> None:
    assert [program.hash_seed for program in asked((None, 0), (None, 1), (None, 2))] == [0, 1, 2]


def test_an_environment_whose_server_never_made_a_box_is_served_by_forges_own() -> None:
    launched = asked((environment(), 1), (environment(), 2))
    assert [(program.words[0], program.hash_seed) for program in launched] == [("/env/bin/python", 1), ("python", 0), ("python", 0)]


def test_idle_servers_go_least_used_first_and_the_first_one_stays() -> None:
    async def launch(program: Program, errors: IO[bytes]) -> Launched:
        raise SandboxError("no server here")

    async def body() -> list[Program]:
        zygotes = Zygotes(launch, "test", OWN, ())
        for seed in range(KEPT + 3):
            with pytest.raises(SandboxError):
                await zygotes.open(Path("/tree"), Limits(), None, seed)
        return list(zygotes._servers)

    kept = asyncio.run(body())
    assert [program.hash_seed for program in kept] == [0, *range(3, KEPT + 3)]
