"""What is Docker's own: labels, the sweep, dead containers, dead owners, the pool."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from forge.errors import EnvironmentLackError, SandboxError
from forge.records import Limits
from sandboxes import containers
from sandboxes.docker import DockerProvider, engine_problem
from sandboxes.images import host_image
from sandboxes.owners import owner_mark
from sandboxes.pick import pick

WAYS = ("shared", "single")


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    if problem := engine_problem():
        pytest.skip(f"no container engine answers: {problem}")
    found = docker.from_env()
    yield found
    found.close()


@pytest.fixture
def run() -> Iterator[Callable[..., Any]]:
    with asyncio.Runner() as runner:
        yield runner.run


def _running(client: docker.DockerClient, run_id: str) -> list[str]:
    return [found["Id"] for found in client.api.containers(all=True, filters={"label": f"{containers.RUN_LABEL}={run_id}"})]


def _until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.1)


@pytest.mark.parametrize("way", WAYS)
def test_containers_carry_the_run_and_are_gone_after_close(client: docker.DockerClient, run: Any, tmp_path: Path, way: Any) -> None:
    async def body() -> int:
        provider = DockerProvider(way)
        try:
            box = await provider.open(tmp_path, limits=Limits(), run_id=f"labels-{way}")
            seen = len(_running(client, f"labels-{way}"))
            await box.close()
        finally:
            await provider.close()
        return seen

    assert run(body()) >= 1
    _until(lambda: not _running(client, f"labels-{way}"))


@pytest.mark.parametrize("way", WAYS)
def test_a_python_that_lives_in_the_temporary_folder_runs_in_a_box(client: docker.DockerClient, tmp_path: Path, way: str) -> None:
    environment, tree = tmp_path / "environment", tmp_path / "tree"
    tree.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", environment], check=True)
    (environment / f"lib/python3.{sys.version_info.minor}/site-packages/all.pth").write_text(
        "\n".join(entry for entry in sys.path if entry)
    )
    script = """
        import asyncio, sys
        from pathlib import Path
        from forge.records import Limits
        from sandboxes.docker import DockerProvider

        async def body():
            provider = DockerProvider(sys.argv[1])
            try:
                box = await provider.open(Path(sys.argv[2]), limits=Limits(), run_id="temporary")
                code = "import sys, tempfile; open(tempfile.gettempdir() + '/f', 'w').write('kept'); print(sys.prefix)"
                print((await box.run(["python", "-c", code])).stdout, end="")
                await box.close()
            finally:
                await provider.close()

        asyncio.run(body())
    """
    words = [environment / "bin/python", "-c", textwrap.dedent(script), way, tree]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == (f"{environment}\n", "")


@pytest.mark.parametrize("way", WAYS)
def test_a_killed_container_is_a_sandbox_error_and_the_next_box_works(
    client: docker.DockerClient, run: Any, tmp_path: Path, way: Any
) -> None:
    async def body() -> str:
        provider = DockerProvider(way, ahead=0)
        try:
            box = await provider.open(tmp_path, limits=Limits(), run_id=f"killed-{way}")
            for found in _running(client, f"killed-{way}"):
                client.api.kill(found)
            with pytest.raises(SandboxError):
                await box.run(["sleep", "10"])
            await box.close()
            again = await provider.open(tmp_path, limits=Limits(), run_id=f"killed-{way}")
            return str((await again.run(["echo", "again"])).stdout)
        finally:
            await provider.close()

    assert run(body()) == "again\n"


@pytest.mark.parametrize("way", WAYS)
def test_a_killed_owner_takes_its_containers_with_it(client: docker.DockerClient, tmp_path: Path, way: str) -> None:
    program = f"""
    import asyncio
    from pathlib import Path
    from forge.records import Limits
    from sandboxes.docker import DockerProvider
    async def main():
        box = await DockerProvider({way!r}, ahead=0).open(Path({str(tmp_path)!r}), limits=Limits(), run_id="orphan-{way}")
        print("ready", flush=True)
        await box.run(["sleep", "19"])
    asyncio.run(main())
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.getcwd()}) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"ready\n"
        assert _running(client, f"orphan-{way}")
        owner.kill()
    _until(lambda: not _running(client, f"orphan-{way}"))


def test_a_sweep_removes_only_containers_of_dead_owners(client: docker.DockerClient, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    image = host_image(client)
    ended = subprocess.Popen(["true"])
    dead = owner_mark(ended.pid)
    ended.wait()

    def made() -> str:
        return containers.create(client, image, ["x"], run_id="sweep", user="1000", namespaces=False, mounts={}, tmpfs={}, limits={})

    provider = DockerProvider()
    run(provider.sweep())  # what earlier tests, which kill owners, may have left
    living = made()
    # The owner's mark is taken from this process; a dead one can only be had by pretending.
    monkeypatch.setattr(containers, "owner_mark", lambda: dead)
    made()
    try:
        assert run(provider.sweep()) == 1
        assert _running(client, "sweep") == [living]
    finally:
        containers.remove(client, living)
        run(provider.close())


def test_the_pool_keeps_containers_ahead_and_never_reuses_one(client: docker.DockerClient, run: Any, tmp_path: Path) -> None:
    async def body() -> tuple[str, str, int]:
        provider = DockerProvider("single", ahead=1)
        try:
            first = await provider.open(tmp_path, limits=Limits(), run_id="pool")
            await first.run(["sh", "-c", "echo mark > /tmp/mark"])
            one = (await first.run(["hostname"])).stdout
            await first.close()
            second = await provider.open(tmp_path, limits=Limits(), run_id="pool")
            assert (await second.run(["cat", "/tmp/mark"])).exit_code != 0
            return str(one), str((await second.run(["hostname"])).stdout), len(_running(client, "pool"))
        finally:
            await provider.close()

    one, two, count = run(body())
    assert one != two
    assert count <= 3
    _until(lambda: not _running(client, "pool"))


def test_auto_picks_docker_when_an_engine_answers(client: docker.DockerClient) -> None:
    choice = pick("auto")
    assert choice.name == "docker"
    assert "engine answers" in choice.why


def test_demanding_docker_without_an_engine_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(EnvironmentLackError, match="no container engine answers"):
        pick("docker")
