"""Real Ray Serve over the engine in memory: a second replica comes with load, and never answers with less than the first."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import ray

from forge.config import ForgeConfig, ReplicasConfig, ServeConfig
from forge.fakes.engine import StartFake
from serve import app
from serve.app import Catalogue
from serve.engine import cluster_env
from serve.names import Version
from tests import local_ray

OLD, NEW = "generation@r1-aaaa", "generation@r2-bbbb"
PUSHED_S = 15.0
"""A handle tells Serve of its load every ten seconds."""
LONGEST_S = 240.0
"""Serve looks at load for half a minute before it adds a replica; the rest is for a busy machine."""


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForgeConfig]:
    folder = Path(tempfile.mkdtemp(prefix="forge-replicas-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for key, value in (cluster_env() | {"PYTHONPATH": str(Path(__file__).parents[2])}).items():
        monkeypatch.setenv(key, value)
    # An adapter takes its time: whatever Serve sent a replica before it is loaded would be a 404.
    monkeypatch.setattr(app, "_start", lambda *_: (StartFake(load_s=2.0, answer_s=0.5), {}))
    ray.init(num_cpus=2, _temp_dir=str(folder), include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False)
    try:
        yield ForgeConfig(serve=ServeConfig(port=port, replicas=ReplicasConfig(min=1, max=2, requests_each=1)))
        app.shutdown({"main": ""})
    finally:
        local_ray.end()
        shutil.rmtree(folder, ignore_errors=True)
    time.sleep(PUSHED_S)
    assert not ray.is_initialized(), "a handle that nobody has ended looks for its Ray and starts another one"


def promote(config: ForgeConfig, name: str) -> str:
    versions = {one: Version(stage="generation", base="main", path=f"/store/{one}", round=1) for one in (OLD, NEW)}
    catalogue = Catalogue(versions=versions, promoted={"generation": name})
    return app.deploy(config, {"main": "/nowhere"}, {"main": {name: f"/store/{name}"}}, catalogue).urls["main"]


async def asked(url: str, until: int, name: str) -> tuple[set[int], set[tuple[int, str]]]:
    """Processes that answered, until there are so many, and what was answered: status and model."""
    processes: set[int] = set()
    answers: set[tuple[int, str]] = set()
    deadline = time.monotonic() + LONGEST_S

    async def ask(client: httpx.AsyncClient) -> None:
        while len(processes) < until and time.monotonic() < deadline:
            answer = await client.post("/v1/completions", json={"model": "generation", "prompt": name})
            answers.add((answer.status_code, answer.json().get("model", "")))
            processes.add(answer.json().get("process", 0))

    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        await asyncio.gather(*(ask(client) for _ in range(8)))
    return processes, answers


def test_a_replica_that_load_adds_answers_only_with_the_promoted_adapter(config: ForgeConfig) -> None:
    url = promote(config, OLD)
    assert httpx.get(f"{url}/forge/address").status_code == 404, "clients go through Serve, which counts them"
    processes, answers = asyncio.run(asked(url, 2, OLD))
    assert len(processes) == 2 and answers == {(200, OLD)} and os.getpid() not in processes
    promote(config, NEW)
    after, answers = asyncio.run(asked(url, 2, NEW))
    assert after == processes and answers == {(200, NEW)}, "a promotion leaves both as they are"
