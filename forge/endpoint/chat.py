"""`ChatClient`: one model of any OpenAI-compatible endpoint, asked with a seed; nothing it says is kept.

The official client asks again by itself when the endpoint is busy, breaks off or fails (`retries`, exponential).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import openai

from forge.errors import EndpointError, EnvironmentLackError
from forge.records import Message, Record

NO_KEY = "none"
"""What is sent where the endpoint wants no key."""


class Said(Record):
    """A model's answer, which may be empty; `cut` when it ran into the limit of tokens."""

    text: str
    cut: bool
    prompt_tokens: int
    completion_tokens: int


class ChatClient:
    """Asks `model` at `url`, which ends with `/v1` or gets it; safe to use from many coroutines of one loop."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str = "",
        temperature: float,
        max_tokens: int,
        request_s: float,
        retries: int,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self._url = url.rstrip("/") if url.rstrip("/").endswith("/v1") else f"{url.rstrip('/')}/v1"
        self._model, self._temperature, self._max_tokens, self._extra = model, temperature, max_tokens, dict(extra or {})
        self._client = openai.AsyncOpenAI(api_key=key or NO_KEY, base_url=self._url, timeout=request_s, max_retries=retries)

    @property
    def sampling(self) -> dict[str, Any]:
        """All but question and seed that an answer depends on; where the model is served is not part of it."""
        return {"model": self._model, "temperature": self._temperature, "max_tokens": self._max_tokens, "extra": self._extra}

    async def ask(self, messages: Sequence[Message], seed: int) -> Said:
        """Its answer; raises `EndpointError`."""
        try:
            done = await self._client.chat.completions.create(
                model=self._model,
                messages=[message.model_dump() for message in messages],
                temperature=self._temperature,
                max_tokens=self._max_tokens,
                seed=seed,
                extra_body=self._extra or None,
            )
        except openai.OpenAIError as error:
            raise EndpointError(f"{self._model} at {self._url} gave no answer: {_words(error)}") from error
        choice = done.choices[0] if done.choices else None
        if choice is None:
            raise EndpointError(f"{self._model} at {self._url} answered without a choice")
        used = done.usage
        return Said(
            text=choice.message.content or "",
            cut=choice.finish_reason == "length",
            prompt_tokens=used.prompt_tokens if used else 0,
            completion_tokens=used.completion_tokens if used else 0,
        )

    async def check(self) -> None:
        """Return when the model answers; raises `EnvironmentLackError` otherwise."""
        try:
            await self.ask([Message(role="user", content="Answer with the word yes.")], 0)
        except EndpointError as error:
            raise EnvironmentLackError(f"{error}; see --url and --model, and the key in the environment") from error

    async def close(self) -> None:
        """End the connections; safe to call twice."""
        await self._client.close()


def _words(error: Exception) -> str:
    """The endpoint's own words, on one line."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(message or error).split())[:300]
