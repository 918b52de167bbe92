"""`KeptChat`: a `ChatClient` whose answers are kept, so that a job that starts again asks nothing twice.

Answers are files named by the hash of model, messages, sampling and seed: any number of workers may write them at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from forge.endpoint.chat import ChatClient
from forge.records import Message, TeacherAnswer
from forge.store.atomic import write_text


class KeptChat:
    """Asks `client`, at most `concurrency` questions at once; answers are kept in `folder`."""

    def __init__(self, client: ChatClient, folder: Path, *, concurrency: int) -> None:
        self._client, self._folder = client, folder
        self._free = asyncio.Semaphore(concurrency)

    async def ask(self, messages: Sequence[Message], seed: int) -> TeacherAnswer:
        """The answer, which may be empty, marked as `cached` when nothing was asked; raises `EndpointError`."""
        said = [message.model_dump() for message in messages]
        body = json.dumps([self._client.sampling, seed, said], sort_keys=True)
        digest = hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()
        kept = self._folder / digest[:2] / f"{digest[2:]}.json"
        if kept.exists():
            return TeacherAnswer.model_validate_json(kept.read_text(encoding="utf-8")).model_copy(update={"cached": True})
        async with self._free:
            found = await self._client.ask(messages, seed)
        # Half of a surrogate pair, which some servers send, is no character.
        answer = TeacherAnswer.model_validate({**found.model_dump(), "text": found.text.encode("utf-8", "replace").decode()})
        write_text(kept, answer.model_dump_json())
        return answer

    async def close(self) -> None:
        """End the connections; safe to call twice."""
        await self._client.close()
