"""A process that aligns many seeds at once: the chat client, the boxes and the grader behind one `Aligner`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from forge.config import AlignConfig
from forge.endpoint.chat import ChatClient
from forge.endpoint.kept import KeptChat
from forge.mining.align.aligner import Aligner, Ended, Work
from forge.records import Limits, Record
from forge.seams import SandboxProvider
from forge.stages.stage import PromptStyle
from jobs.wiring import ProviderFactory
from sandboxes.grading import BoxGrader

RUN = "align"


class Opened(NamedTuple):
    """An aligner, and what has to be closed after it."""

    aligner: Aligner
    chat: KeptChat
    provider: SandboxProvider
    nothing: tempfile.TemporaryDirectory[str]
    """The empty tree that every box starts from."""


class AlignerFactory(Record):
    """Makes a worker's aligner; travels to Ray workers. The key is read where it runs, unless the endpoint is the run's own."""

    config: AlignConfig
    url: str
    key: str
    answers: str
    """Folder of what was asked."""
    provider: ProviderFactory
    style: PromptStyle
    run_seed: int
    retries: int

    def __call__(self) -> Opened:
        config, provider = self.config, self.provider()
        client = ChatClient(
            self.url,
            config.model,
            key=self.key or os.environ.get(config.key_variable, ""),
            temperature=config.temperature,
            max_tokens=config.max_answer_tokens,
            request_s=config.request_s,
            retries=config.retries,
            extra=config.extra,
        )
        chat = KeptChat(client, Path(self.answers), concurrency=config.concurrency)
        nothing = tempfile.TemporaryDirectory(prefix="forge-align-")
        limits = Limits(memory_bytes=config.memory_bytes, command_s=config.test_s)
        grader = BoxGrader(provider, lambda _: Path(nothing.name), limits, RUN)
        aligner = Aligner(chat.ask, grader, config, style=self.style, run_seed=self.run_seed, retries=self.retries)
        return Opened(aligner, chat, provider, nothing)


class AlignWorker:
    """One worker of a `forge.evals.suites.on_ray.Pool`."""

    def __init__(self, make: Callable[[], Opened]) -> None:
        self._opened = make()

    async def align(self, work: Work) -> Ended:
        return await self._opened.aligner.align(work)

    async def close(self) -> None:
        await self._opened.chat.close()
        await self._opened.provider.close()
        self._opened.nothing.cleanup()
