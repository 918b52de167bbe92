"""llama.cpp's engine in a replica: the parts put together."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge.config import BaseModelConfig, ServeConfig
from serve import pick
from serve.llama import child, command
from serve.llama.child import Child
from serve.llama.material import Material, facts_of
from serve.llama.pool import Pool
from serve.llama.routes import Base, app_of
from serve.seam import Tokens

EXACT = "f32"
"""In the name of a weights file: everything is computed in float32."""


@dataclass(frozen=True)
class StartLlama:
    """Implements `serve.seam.Start`: llama.cpp for the base `name` in a folder."""

    name: str
    folder: str
    base: BaseModelConfig
    serve: ServeConfig
    material: Material

    async def __call__(self) -> LlamaServer:
        """The server, which starts llama-server as soon as it is told its adapters. Raises a `ForgeError` when it cannot be."""
        program = pick.require_llama_server(self.serve)
        weights = await asyncio.to_thread(self.material.weights)
        facts = facts_of(Path(self.folder))
        exact = EXACT in weights.stem.split("-")
        many = command.places(self.base, self.serve, facts, exact=exact)

        async def begin(files: Mapping[str, Path]) -> Child:
            def argv(socket: str) -> Sequence[str]:
                names = [file.name for file in files.values()]
                options = command.argv(
                    self.base, self.serve, facts, weights=weights.name, adapters=names, socket=socket, exact=exact
                )  # fmt: skip
                return [str(program), *options]

            return await child.start(
                argv, weights.parent, list(files), places=many, environment=command.environment(self.serve, os.environ),
                within_s=self.serve.start_timeout_s,
            )  # fmt: skip

        pool = Pool(begin, self.material.adapter, self.name, self.serve.max_adapters)
        known = await version_of(str(program))
        app = app_of(pool, Base(self.name, facts, self.material.tokenizer(), self.base.max_model_tokens), lambda: known)
        return LlamaServer(pool, app, on_card=self.serve.gpus > 0)


@dataclass(frozen=True)
class LlamaServer:
    """Implements `serve.seam.Server`."""

    pool: Pool
    app: Any
    on_card: bool

    @property
    def engine(self) -> Pool:
        return self.pool

    @property
    def adapters(self) -> Pool:
        return self.pool

    def tell(self, tokens: Tokens) -> None:
        """From now on every answer's tokens are told."""
        self.pool.tokens = tokens

    async def sleep(self, asleep: bool) -> None:
        """On a card: end llama-server, which gives all its memory back; it is started again with the adapters that are told next."""
        if asleep and self.on_card:
            await self.pool.stop()


async def version_of(program: str) -> str:
    """What `llama-server --version` says, in short."""
    process = await asyncio.create_subprocess_exec(
        program, "--version", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    found = re.search(r"version: (\S+)", out.decode("utf-8", "replace"))
    return f"llama.cpp {found[1]}" if found else "llama.cpp"
