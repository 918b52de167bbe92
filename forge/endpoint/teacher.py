"""`OpenAITeacher`: the `Teacher` behind any OpenAI-compatible endpoint, asked through the official client.

The client waits and asks again by itself when the endpoint is busy, breaks off or fails (`retries`, exponential, what
`Retry-After` says first). Answers are files named by the hash of model, messages and sampling: any number of workers,
on any number of machines that share the folder, may write them at once, and a job that starts again asks nothing twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openai

from forge.config import TeacherConfig
from forge.errors import TeacherError, TeacherRefusedError
from forge.records import Message, TeacherAnswer
from forge.store.atomic import write_text

NO_KEY = "none"
"""What is sent where the endpoint wants no key."""


class OpenAITeacher:
    """Asks `config.model`; answers are kept in `folder`."""

    def __init__(self, config: TeacherConfig, folder: Path) -> None:
        if config.model is None:
            raise TeacherRefusedError("there is no teacher; set teacher.model, and teacher.url where it is not OpenAI's own")
        self._config = config
        self._folder = folder
        self._client: openai.AsyncOpenAI | None = None
        self._free = asyncio.Semaphore(config.concurrency)

    async def ask(self, messages: Sequence[Message]) -> TeacherAnswer:
        kept = self._folder / _name(self._config, messages)
        if kept.exists():
            return TeacherAnswer.model_validate_json(kept.read_text(encoding="utf-8")).model_copy(update={"cached": True})
        async with self._free:
            answer = await self._asked(messages)
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_text(kept, answer.model_dump_json())
        return answer

    async def check(self) -> None:
        """Return when the teacher answers; raises `TeacherRefusedError` or `TeacherError` otherwise."""
        await self._asked([Message(role="user", content="Answer with the word yes.")])

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _asked(self, messages: Sequence[Message]) -> TeacherAnswer:
        config, model = self._config, str(self._config.model)
        try:
            done = await self._connected().chat.completions.create(
                model=model,
                messages=[message.model_dump() for message in messages],
                temperature=config.temperature,
                max_tokens=config.max_answer_tokens,
                **({"extra_body": config.extra} if config.extra else {}),
            )
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise TeacherRefusedError(f"the teacher {self._where} refuses: {_said(error)}") from error
        except openai.BadRequestError as error:
            raise TeacherError(f"the teacher {self._where} does not take this question: {_said(error)}") from error
        except openai.OpenAIError as error:
            raise TeacherError(f"the teacher {self._where} gave no answer: {_said(error)}") from error
        return _answer(done, model)

    @property
    def _where(self) -> str:
        return f"{self._config.model} at {self._config.url or 'the default address'}"

    def _connected(self) -> openai.AsyncOpenAI:
        if self._client is None:
            config = self._config
            key = os.environ.get(config.key_variable, "")
            if not key and config.url is None:
                raise TeacherRefusedError(
                    f"the teacher {config.model} wants a key; put it into the environment as {config.key_variable}, or set teacher.url"
                )
            self._client = openai.AsyncOpenAI(
                api_key=key or NO_KEY, base_url=config.url, timeout=config.request_s, max_retries=config.retries
            )
        return self._client


def _name(config: TeacherConfig, messages: Sequence[Message]) -> str:
    said = [message.model_dump() for message in messages]
    asked = [config.model, config.temperature, config.max_answer_tokens, config.extra, said]
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{digest[:2]}/{digest[2:]}.json"


def _answer(done: Any, model: str) -> TeacherAnswer:
    choice = done.choices[0] if done.choices else None
    if choice is None or not choice.message.content:
        raise TeacherError(f"the teacher {model} answered with nothing (it stopped for: {choice.finish_reason if choice else 'no choice'})")
    used = done.usage
    return TeacherAnswer(
        text=choice.message.content,
        cut=choice.finish_reason == "length",
        prompt_tokens=used.prompt_tokens if used else 0,
        completion_tokens=used.completion_tokens if used else 0,
    )


def _said(error: Exception) -> str:
    """The endpoint's own words, on one line."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(message or error).split())[:300]
