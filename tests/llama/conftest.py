"""The endpoint of tests/vllm, served by llama.cpp: one Ray, one Serve, a tiny random base with two adapters.

Needs a llama-server on the PATH, which is in no pinned set: docs/decisions/0021-llama.md says how to build one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forge.config import ForgeConfig, ServeConfig
from jobs.serving.llama_files import gguf_of
from serve import pick
from tests.vllm.conftest import ROOT, Served, _free_port


class LlamaServed(Served):
    """The same, with what llama.cpp needs beside."""

    def deploy(self, adapters: dict[str, str], catalogue: Any = None) -> None:
        from serve import app

        app.deploy(self.config, self.bases, {"main": adapters}, catalogue, gguf=gguf_of(self.config))


@pytest.fixture(scope="session")
def llama_server() -> Path:
    found = pick.llama_server()
    if found is None:
        pytest.skip("llama-server is not on the PATH")
    return found


@pytest.fixture(scope="session")
def served(llama_server: Path) -> Iterator[LlamaServed]:
    import ray

    from serve import app
    from serve.engine import cluster_env
    from tests import local_ray
    from tests.vllm.tiny_models import make_adapter, make_base

    folder = Path(tempfile.mkdtemp(prefix="forge-llama-test-"))
    base = make_base(folder / "base")
    adapters = {
        f"{stage}@r1-{seed}": str(make_adapter(folder / f"adapter-{seed}", base, seed=seed))
        for seed, stage in enumerate(("generation", "review"), start=1)
    }
    settings = ServeConfig(engine="llama", port=_free_port(), max_adapters=10, kv_cache_bytes=64 * 2**20, max_sequences=16)
    config = ForgeConfig(serve=settings, workspace=str(folder / "workspace"))
    inherited = dict(os.environ)
    os.environ.update(cluster_env())
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        ray.init(num_cpus=2, _temp_dir=str(folder / "ray"), include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False)
        endpoint = app.deploy(config, {"main": base}, {"main": adapters}, gguf=gguf_of(config))
        yield LlamaServed(config, endpoint.urls["main"], folder, base, adapters)
        app.shutdown({"main": base})
    finally:
        local_ray.end()
        os.environ.clear()
        os.environ.update(inherited)
        shutil.rmtree(folder, ignore_errors=True)
