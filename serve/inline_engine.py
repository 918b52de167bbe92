"""vLLM's engine on a thread of the replica's own process, for CPU.

`AsyncLLM` starts the engine in a second process, which pays vLLM's imports once more (about 13 CPU-s and 0.6 GB)
and packs every request and every step's output for the way between. `InlineEngine` offers the same client
interface over the engine core of this process, as vLLM's own `InprocClient` does for its synchronous API.
Torch lets go of the interpreter lock inside its operators, so the event loop is served between them.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from vllm.config import VllmConfig
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, EngineCoreRequest, FinishReason
from vllm.v1.engine.core_client import EngineCoreClient, InprocClient
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.executor import Executor

logger = logging.getLogger(__name__)


@contextmanager
def inline_engine() -> Iterator[None]:
    """While this is open, an `AsyncLLM` that is made gets its engine inline."""
    original = EngineCoreClient.make_async_mp_client
    EngineCoreClient.make_async_mp_client = staticmethod(_make_inline)
    try:
        yield
    finally:
        EngineCoreClient.make_async_mp_client = staticmethod(original)


class InlineEngine:
    """The asynchronous engine client, over an engine core that steps on a thread of its own."""

    engine_ranks_managed = (0,)

    def __init__(self, vllm_config: VllmConfig, executor_class: type[Executor], log_stats: bool) -> None:
        self.resources = SimpleNamespace(engine_dead=False)
        self._core = InprocClient(vllm_config, executor_class, log_stats)
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._outputs: asyncio.Queue[EngineCoreOutputs | Exception] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._thread = threading.Thread(target=self._run, name="vllm-engine", daemon=True)
        self._thread.start()

    async def get_output_async(self) -> EngineCoreOutputs:
        """The next step's outputs; raises `EngineDeadError` once the engine has failed."""
        outputs = await self._outputs.get()
        if isinstance(outputs, Exception):
            raise EngineDeadError() from outputs
        return outputs

    async def add_request_async(self, request: EngineCoreRequest) -> None:
        if self.resources.engine_dead:
            raise EngineDeadError()
        self._inbox.put(functools.partial(self._add, request))

    async def abort_requests_async(self, request_ids: list[str]) -> None:
        if request_ids and not self.resources.engine_dead:
            self._inbox.put(functools.partial(self._core.abort_requests, request_ids))

    def dp_engines_running(self) -> bool:
        return False

    def shutdown(self, timeout: float | None = None) -> None:
        """Stop stepping and free the engine; safe to call twice."""
        if self._open:
            self._open = False
            self._inbox.put(lambda: None)
            self._thread.join(timeout or 10)
            self._core.shutdown()

    def __getattr__(self, name: str) -> Any:
        """`<method>_async` of the asynchronous client is `<method>` of the engine core, run between two steps."""
        method = getattr(self._core, name.removesuffix("_async"), None) if name.endswith("_async") else None
        if method is None:
            raise AttributeError(f"the inline engine has no '{name}'")

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.resources.engine_dead:
                raise EngineDeadError()
            done: Future[Any] = Future()
            self._inbox.put(functools.partial(_settle, done, functools.partial(method, *args, **kwargs)))
            return await asyncio.wrap_future(done)

        return call

    def _add(self, request: EngineCoreRequest) -> None:
        try:
            self._core.add_request(request)
        except Exception:
            logger.exception("the engine refused request %s", request.request_id)
            refused = EngineCoreOutput(request_id=request.request_id, new_token_ids=[], finish_reason=FinishReason.ERROR)
            self._hand_out(EngineCoreOutputs(outputs=[refused]))

    def _hand_out(self, outputs: EngineCoreOutputs | Exception) -> None:
        self._loop.call_soon_threadsafe(self._outputs.put_nowait, outputs)

    def _run(self) -> None:
        # Subnormal probabilities of a confident model take a CPU many times longer than zeros; the flag is each thread's own.
        torch.set_flush_denormal(True)
        try:
            while self._open:
                self._take_inbox()
                outputs = self._core.get_output()
                if outputs.outputs or outputs.scheduler_stats:
                    self._hand_out(outputs)
        except Exception as error:
            logger.exception("the engine failed")
            self.resources.engine_dead = True
            self._hand_out(error)

    def _take_inbox(self) -> None:
        """Everything that has come in; waits for something while there is nothing to step."""
        if not self._core.engine_core.scheduler.has_requests():
            self._inbox.get()()
        while not self._inbox.empty():
            self._inbox.get()()


def _settle(done: Future[Any], call: Callable[[], Any]) -> None:
    try:
        done.set_result(call())
    except Exception as error:  # noqa: BLE001  (it is the caller's, who waits for it)
        done.set_exception(error)


def _make_inline(vllm_config: VllmConfig, executor_class: type[Executor], log_stats: bool, *_: Any, **__: Any) -> InlineEngine:
    return InlineEngine(vllm_config, executor_class, log_stats)
