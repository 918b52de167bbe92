"""The Serve deployment: one engine, its OpenAI app behind the front, and the names that `user_config` gives."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

import ray
from ray import serve

from forge.config import ServeConfig
from forge.store.keys import ApiKey
from serve.counted import Counted
from serve.direct_port import DirectPort
from serve.elsewhere import Elsewhere
from serve.engine import reachable_host
from serve.following import take_on
from serve.front import Front, Stamped
from serve.names import Names
from serve.seam import Start

logger = logging.getLogger(__name__)

WATCH_S = 0.5
"""Seconds between two looks at the engine."""


@serve.deployment(max_ongoing_requests=2048, graceful_shutdown_timeout_s=10, health_check_period_s=5)
@serve.ingress()
class Replica:
    """An engine's OpenAI app plus `/forge/sample`, behind Serve's proxy and, where it is the only one, on a port of its own that clients
    are told of (`/forge/address`).

    Names and adapters follow `user_config`, `{"names": Names, "keys": [ApiKey]}`: an update loads and unloads in place, and a
    replica that starts again loads them before it takes traffic. The process exits as soon as its engine is dead, so that
    Serve starts a new one.
    """

    def __init__(self, base: str, start: Start, config: dict[str, Any]) -> None:
        self._base, self._start = base, start
        self._config = ServeConfig.model_validate(config)
        self._front: Any = None
        self._counted: Any = None
        self._server: Any = None
        self._direct: Any = None
        self._begun = False
        self._watcher: asyncio.Task[None] | None = None

    async def __serve_build_asgi_app__(self) -> Any:
        self._server = await self._start()
        if not self._config.replicas.several:
            # Of several, each client would stay with the one that it was told of, past Serve, which counts what it hands out to scale.
            self._server.app.add_api_route("/forge/address", self.address, methods=["GET"])
        self._counted = Counted(self._base)
        self._server.tell(self._counted.tokens)
        self._front = Front(self._server.app, self._config, load=self._load, ready=self._lacking, forward=Elsewhere(), watch=self._counted)
        host, node = self._config.host, ray.util.get_node_ip_address()
        self._direct = DirectPort(Stamped(self._front), host, reachable_host(host, node))
        self._watcher = asyncio.create_task(self._exit_when_the_engine_dies())
        return self._front

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Adapters as wanted before their names hold; one that cannot be loaded is reported by `problems`, and the rest is served."""
        names = Names.model_validate(user_config["names"])
        keys = [ApiKey.model_validate(key) for key in user_config.get("keys", [])]
        await take_on(self._server, self._front, names, keys, whole=self._config.replicas.several and not self._begun)
        self._begun = True
        self._counted.asleep(names.asleep)
        self._direct.open()

    async def address(self) -> dict[str, str]:
        """This replica's own address, which `/forge/address` answers: the same app without Serve's proxy between."""
        return {"url": self._direct.url}

    async def problems(self) -> dict[str, str]:
        """Why a wanted adapter is not served, by model id."""
        return dict(self._server.adapters.problems)

    async def _load(self, model_id: str, path: str) -> str:
        """Why an adapter does not answer, empty when it does; one that was not used yet is loaded."""
        if self._server.adapters.serves(model_id, path):
            return ""
        problem: str = await self._server.adapters.load(model_id, path)
        self._counted.loaded(model_id, problem)
        return problem

    def _lacking(self) -> str:
        """Why this replica is not what it should be; empty when it is."""
        return "; ".join(f"{name}: {why}" for name, why in sorted(self._server.adapters.problems.items()))

    async def pid(self) -> int:
        """Process id of this replica."""
        return os.getpid()

    async def check_health(self) -> None:
        if self._server is not None and self._server.engine.errored:
            raise RuntimeError("the engine is dead")

    async def _exit_when_the_engine_dies(self) -> None:
        while not self._server.engine.errored:
            self._counted.repeat()
            await asyncio.sleep(WATCH_S)
        logger.error("the engine is dead; this replica exits so that Serve starts another")
        os._exit(1)
