"""An engine in memory that stands behind the front as vLLM does: no model, no waiting but what it is told to.

`POST /v1/completions` answers which model was asked and which process answered; one that is not loaded is a 404, as vLLM's is.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse


@dataclass(frozen=True)
class StartFake:
    """Implements `serve.seam.Start`. Adapters take `load_s` each and answers `answer_s`; a path with `broken` in it cannot be loaded."""

    base: str = "main"
    load_s: float = 0.0
    answer_s: float = 0.0

    async def __call__(self) -> FakeServer:
        return FakeServer(self)


class FakeServer:
    """Implements `serve.seam.Server`."""

    def __init__(self, made: StartFake) -> None:
        self.engine = SimpleNamespace(errored=False)
        self.adapters = FakeAdapters(made.load_s)
        self.app = FastAPI()
        self.asleep = False

        @self.app.post("/v1/completions")
        async def complete(request: Request) -> JSONResponse:
            await asyncio.sleep(made.answer_s)
            model = (await request.json()).get("model", made.base)
            there = model == made.base or model in self.adapters.loaded
            return JSONResponse({"model": model, "process": os.getpid()}, 200 if there else 404)

    def tell(self, tokens: Any) -> None:
        """Nothing is told: there are no tokens."""

    async def sleep(self, asleep: bool) -> None:
        self.asleep = asleep


class FakeAdapters:
    """Implements `serve.seam.Adapters`."""

    def __init__(self, load_s: float) -> None:
        self.loaded: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        self._load_s = load_s

    async def follow(self, wanted: Mapping[str, str], known: Collection[str] = ()) -> None:
        """See the seam."""
        self.problems = {name: problem for name, path in wanted.items() if (problem := await self.load(name, path))}
        self.loaded = {name: path for name, path in self.loaded.items() if name in wanted or name in known}

    def serves(self, name: str, path: str) -> bool:
        return self.loaded.get(name) == path

    async def load(self, name: str, path: str) -> str:
        await asyncio.sleep(self._load_s)
        if "broken" in path:
            return "no adapter_config.json"
        self.loaded[name] = path
        return ""
