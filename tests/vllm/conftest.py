"""One Ray, one Serve, one vLLM for the whole tier: a tiny random base with two adapters, served for real."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from forge.config import ForgeConfig, ServeConfig
from forge.endpoint.client import EndpointModel
from forge.endpoint.tokens import BaseTokenizer
from forge.records import Message

ROOT = Path(__file__).parents[2]


@dataclass
class Served:
    """A running endpoint and what it serves; `bases` and `adapters` are what a deploy takes."""

    config: ForgeConfig
    url: str
    folder: Path
    base: Path
    adapters: dict[str, str]

    @property
    def bases(self) -> dict[str, Path]:
        return {"main": self.base}

    @property
    def tokenizer(self) -> BaseTokenizer:
        return BaseTokenizer(self.base)

    def prompt(self, text: str) -> tuple[int, ...]:
        return self.tokenizer.render([Message(role="user", content=text)])

    def ask(self, use: Callable[[EndpointModel], Coroutine[Any, Any, Any]]) -> Any:
        """What `use` returns, given a client on a loop of its own."""
        import asyncio

        async def run() -> Any:
            model = EndpointModel({"main": self.url})
            try:
                return await use(model)
            finally:
                await model.close()

        return asyncio.run(run())

    def set_adapters(self, adapters: dict[str, str]) -> None:
        self.deploy(adapters)

    def deploy(self, adapters: dict[str, str], catalogue: Any = None) -> None:
        from serve import app

        app.deploy(self.config, self.bases, {"main": adapters}, catalogue)


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    pytest.importorskip("vllm.engine.arg_utils", reason="vLLM is not installed")
    import ray

    from serve import app
    from serve.engine import cluster_env
    from tests import local_ray
    from tests.vllm.tiny_models import make_adapter, make_base

    folder = Path(tempfile.mkdtemp(prefix="forge-vllm-"))
    base = make_base(folder / "base")
    adapters = {
        f"{stage}@r1-{seed}": str(make_adapter(folder / f"adapter-{seed}", base, seed=seed))
        for seed, stage in enumerate(("generation", "review"), start=1)
    }
    settings = ServeConfig(port=_free_port(), max_adapters=10, kv_cache_bytes=32 * 2**20, max_sequences=16)
    config = ForgeConfig(serve=settings)
    inherited = dict(os.environ)
    os.environ.update(cluster_env())
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        ray.init(num_cpus=2, _temp_dir=str(folder / "ray"), include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False)
        endpoint = app.deploy(config, {"main": base}, {"main": adapters})
        yield Served(config, endpoint.urls["main"], folder, base, adapters)
        app.shutdown({"main": base})
    finally:
        local_ray.end()
        os.environ.clear()
        os.environ.update(inherited)
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
