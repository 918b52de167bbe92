"""The Serve deployment of the staged agent: questions, their files, and whoever made the agent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import serve

from forge.config import ServeConfig
from forge.store.keys import ApiKey
from serve.gate import Gate
from serve.questions import Agent, Questions
from serve.solve_app import SolveApp
from serve.solves import Solves


@serve.deployment(max_ongoing_requests=512, graceful_shutdown_timeout_s=5, health_check_period_s=5)
@serve.ingress()
class Solving:
    """`serve.solve_app` with an agent of its own; a new replica takes up what the one before left."""

    def __init__(self, make: Callable[[], Agent], config: dict[str, Any], folder: str) -> None:
        self._make, self._config, self._folder = make, ServeConfig.model_validate(config), Path(folder)
        self._gate = Gate()
        self._questions: Questions | None = None

    async def __serve_build_asgi_app__(self) -> Any:
        agent = await asyncio.to_thread(self._make)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._questions = Questions(agent, Solves(self._folder), self._config)
        self._questions.take_up()
        return SolveApp(self._questions, self._gate, self._config)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """The keys that count now."""
        self._gate.keys = [ApiKey.model_validate(key) for key in user_config.get("keys", [])]

    async def pid(self) -> int:
        """Process id of this replica."""
        return os.getpid()
