"""The Serve deployment: one vLLM engine, its OpenAI app, and the adapters that `user_config` names."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from collections.abc import Sequence
from typing import Any

import ray
from ray import serve

from serve.engine import reachable_host

logger = logging.getLogger(__name__)

WATCH_S = 0.5
"""Seconds between two looks at the engine."""


@serve.deployment(max_ongoing_requests=2048, graceful_shutdown_timeout_s=10, health_check_period_s=5)
@serve.ingress()
class VLLMOpenAI:
    """vLLM's own OpenAI app plus `/forge/sample`, behind Serve's proxy and on a port of its own (`/forge/address`).

    Its adapters follow `user_config`, `{"adapters": {model_id: folder}}`: an update loads and unloads in place, and
    a replica that starts again loads them before it takes traffic. The process exits as soon as its engine is dead,
    so that Serve starts a new one.
    """

    def __init__(self, argv: Sequence[str], host: str) -> None:
        self._argv = list(argv)
        self._host = host
        self._server: Any = None
        self._direct: Any = None
        self._watcher: asyncio.Task[None] | None = None

    async def __serve_build_asgi_app__(self) -> Any:
        # vLLM is imported here, in the replica, and not by whoever deploys.
        vllm_server = importlib.import_module("serve.vllm_server")
        self._server = await vllm_server.start(self._argv)
        node = ray.util.get_node_ip_address()
        self._direct = vllm_server.DirectPort(self._server.app, self._host, reachable_host(self._host, node))
        self._server.app.add_api_route("/forge/address", self.address, methods=["GET"])
        self._watcher = asyncio.create_task(self._exit_when_the_engine_dies())
        return self._server.app

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Adapters as wanted; one that cannot be loaded is reported by `problems`, and the rest is served."""
        await self._server.adapters.follow(user_config.get("adapters", {}))
        self._direct.open()

    async def address(self) -> dict[str, str]:
        """This replica's own address, which `/forge/address` answers: the same app without Serve's proxy between."""
        return {"url": self._direct.url}

    async def problems(self) -> dict[str, str]:
        """Why a wanted adapter is not served, by model id."""
        return dict(self._server.adapters.problems)

    async def pid(self) -> int:
        """Process id of this replica."""
        return os.getpid()

    async def check_health(self) -> None:
        if self._server is not None and self._server.engine.errored:
            raise RuntimeError("the vLLM engine is dead")

    async def _exit_when_the_engine_dies(self) -> None:
        while not self._server.engine.errored:  # noqa: ASYNC110  (the engine offers nothing to wait for)
            await asyncio.sleep(WATCH_S)
        logger.error("the vLLM engine is dead; this replica exits so that Serve starts another")
        os._exit(1)
