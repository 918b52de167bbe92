"""Real Ray Serve over the engine in memory on two nodes of a cluster, each with room for one replica, as a card would have."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from forge.config import ForgeConfig, ReplicasConfig, ServeConfig
from forge.fakes.engine import StartFake
from serve import app
from serve.engine import cluster_env
from tests import local_ray
from tests.ray.test_replicas_on_ray import LONGEST_S, NEW, OLD, asked, promote


@dataclass
class Nodes:
    """The head, where the driver and Serve's proxy are, and one more."""

    config: ForgeConfig
    cluster: Cluster
    second: Any

    def kill_second(self) -> None:
        """At once, as when a machine loses its power."""
        self.cluster.remove_node(self.second, allow_graceful=False)

    def add_second(self) -> None:
        self.second = self.cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    folder = Path(tempfile.mkdtemp(prefix="forge-nodes-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for key, value in (cluster_env() | {"PYTHONPATH": str(Path(__file__).parents[2])}).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(app, "_start", lambda *_: (StartFake(load_s=1.0, answer_s=0.3), {}))
    monkeypatch.setattr(app, "REPLICA_CPUS", 1.0)
    # Where every Ray of this machine looks for one to join.
    monkeypatch.setattr("ray._private.utils.write_ray_address", lambda *_, **__: None)
    monkeypatch.setattr("ray._common.utils.reset_ray_address", lambda *_, **__: None)
    head = {"num_cpus": 1, "temp_dir": str(folder), "include_dashboard": False, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        found = Nodes(ForgeConfig(serve=ServeConfig(port=port, replicas=ReplicasConfig(min=1, max=2, requests_each=1))), cluster, None)
        found.add_second()
        yield found
        app.shutdown({"main": ""})
    finally:
        local_ray.end()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_replica_on_a_second_node_answers_as_the_first_and_its_loss_stops_nothing(nodes: Nodes) -> None:
    url = promote(nodes.config, OLD)
    processes, answers = asyncio.run(asked(url, 2, OLD))
    assert answers == {(200, OLD)}
    assert len({psutil.Process(one).ppid() for one in processes}) == 2, "a raylet is the parent of its replicas"

    lost = asyncio.run(_asked_while(url, nodes.kill_second))
    assert sum(count for status, count in lost.items() if status != 200) <= 8, f"more than were under way: {lost}"
    assert httpx.post(f"{url}/v1/completions", json={"model": "generation", "prompt": ""}, timeout=60).json()["model"] == OLD

    nodes.add_second()
    processes, answers = asyncio.run(asked(url, 2, OLD))
    assert len(processes) == 2 and answers == {(200, OLD)}
    promote(nodes.config, NEW)
    assert asyncio.run(asked(url, 2, NEW)) == (processes, {(200, NEW)}), "a promotion leaves both as they are"


async def _asked_while(url: str, change: Any) -> Counter[int]:
    """Statuses of what eight clients were answered before, during and after it."""
    statuses: Counter[int] = Counter()
    done = asyncio.Event()

    async def ask(client: httpx.AsyncClient) -> None:
        while not done.is_set():
            answer = await client.post("/v1/completions", json={"model": "generation", "prompt": ""})
            statuses[answer.status_code] += 1

    async with httpx.AsyncClient(base_url=url, timeout=LONGEST_S) as client:
        asking = [asyncio.create_task(ask(client)) for _ in range(8)]
        await asyncio.sleep(1)
        await asyncio.to_thread(change)
        await asyncio.sleep(5)
        done.set()
        await asyncio.gather(*asking)
    return statuses
