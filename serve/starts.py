"""How vLLM is started in a replica."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from serve.seam import Server


@dataclass(frozen=True)
class StartVLLM:
    """Implements `serve.seam.Start`."""

    argv: tuple[str, ...]

    async def __call__(self) -> Server:
        # vLLM is imported here, in the replica, and not by whoever deploys.
        server: Server = await importlib.import_module("serve.vllm_server").start(self.argv)
        return server
