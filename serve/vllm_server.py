"""The engine and its ASGI app, built in the replica's process. The only module here, with its neighbours
`sample_route` and `cpu_worker`, that imports vLLM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.lora.protocol import LoadLoRAAdapterRequest, UnloadLoRAAdapterRequest
from vllm.platforms import current_platform
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.async_llm import AsyncLLM

from serve.front import ROUTES
from serve.inline_engine import inline_engine
from serve.sample_route import add_sample_route
from serve.seam import Tokens
from serve.token_counts import counted

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Server:
    """A running engine, its ASGI app and its adapters."""

    engine: AsyncLLM
    app: Any
    adapters: Adapters
    base: str

    def tell(self, tokens: Tokens) -> None:
        """From now on every answer's tokens are told."""
        self.engine.generate = counted(self.engine.generate, self.base, tokens)

    async def sleep(self, asleep: bool) -> None:
        """Give the card's memory to whoever trains, or take it back; on CPU there is nothing to give."""
        if current_platform.is_cpu() or await self.engine.is_sleeping() == asleep:
            return
        if asleep:
            await self.engine.sleep(level=1)
        else:
            await self.engine.wake_up()


async def start(argv: Sequence[str]) -> Server:
    """A server that answers; takes as long as loading the base."""
    args = make_arg_parser(FlexibleArgumentParser()).parse_args(list(argv))
    engine_args = AsyncEngineArgs.from_cli_args(args)
    config = engine_args.create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
    with inline_engine() if current_platform.is_cpu() else contextlib.nullcontext():
        engine = AsyncLLM.from_vllm_config(
            vllm_config=config, usage_context=UsageContext.OPENAI_API_SERVER, disable_log_stats=args.disable_log_stats
        )
    tasks = await engine.get_supported_tasks()
    app = build_app(args, tasks, engine.model_config)
    await init_app_state(engine, app.state, args, tasks)
    app.state.server = types.SimpleNamespace()  # vLLM's error handler writes to it
    models = app.state.openai_serving_models
    add_sample_route(app, engine, models)
    _describe(app)
    gc.collect()
    gc.freeze()  # a few hundred thousand objects of the imports need no look at each full collection
    return Server(engine, app, Adapters(models), models.base_model_paths[0].name)


def _describe(app: Any) -> None:
    """Let `/openapi.json` tell of the routes that the front lets through, and of no others."""
    described = app.openapi()
    there = {path for _, path in ROUTES}
    described["paths"] = {path: what for path, what in described["paths"].items() if path in there}
    described["info"]["title"] = "forge"


class Adapters:
    """The adapters that the engine serves, kept equal to what is wanted."""

    def __init__(self, models: OpenAIServingModels) -> None:
        self._models = models
        self._turn = asyncio.Lock()
        self.problems: dict[str, str] = {}

    async def follow(self, wanted: Mapping[str, str], known: Collection[str] = ()) -> None:
        """Load what is missing, then forget what is neither wanted nor `known`; requests under way keep their adapter.

        A known one that was loaded stays: a request for it may be on its way, and the engine keeps those that were used last.
        """
        async with self._turn:
            self.problems = {}
            for name, path in wanted.items():
                if problem := await self._load(name, path):
                    self.problems[name] = problem
            for name in set(self._models.lora_requests) - set(wanted) - set(known):
                await self._models.unload_lora_adapter(UnloadLoRAAdapterRequest(lora_name=name))

    def serves(self, name: str, path: str) -> bool:
        """Whether the adapter answers already."""
        served = self._models.lora_requests.get(name)
        return served is not None and served.lora_path == path

    async def load(self, name: str, path: str) -> str:
        """Make one more adapter answer; the reason when it cannot."""
        async with self._turn:
            return await self._load(name, path)

    async def _load(self, name: str, path: str) -> str:
        served = self._models.lora_requests.get(name)
        if served is not None:
            same = served.lora_path == path
            return "" if same else f"{name} is served from {served.lora_path} and names are immutable; give {path} a new version"
        answer = await self._models.load_lora_adapter(LoadLoRAAdapterRequest(lora_name=name, lora_path=path))
        if not isinstance(answer, ErrorResponse):
            return ""
        logger.warning("adapter %s from %s was not loaded: %s", name, path, answer.error.message)
        return str(answer.error.message)
