"""`EndpointModel`: the `ChatModel` that talks to `serve/` over HTTP.

Requests go to `POST /forge/sample` on the replica's own port, which `GET /forge/address` tells; when that port does
not answer (a replica was restarted), the address is asked for again, and the call is made again until `patience_s`
is used up. Sampling has no side effects and every prompt has its seed, so a repeated call is harmless, except one
that kills the engine: after `DEATHS` deaths under one call it is given up.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from forge.errors import EndpointError
from forge.records import COMBINED, STAGES
from forge.seams import Sample, SampleRequest

AWAY_STATUSES = frozenset({502, 503, 504})
"""Answers while a replica starts, or is about to exit because its engine is dead."""

DEATHS = 3
"""Times that the server may die (disconnect or answer 500) while it works on one call."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


class EndpointModel:
    """Samples from the bases at `urls` (name to URL) and their adapters.

    A model id is a base's name or `stage@version`; `stages` says which base a stage's adapters are on (default `main`).
    """

    def __init__(
        self,
        urls: Mapping[str, str],
        *,
        stages: Mapping[str, str] | None = None,
        request_s: float = 120.0,
        patience_s: float = 180.0,
        prompts_per_call: int = 32,
        api_key: str = "",
    ) -> None:
        self._urls = {name: url.rstrip("/") for name, url in urls.items()}
        self._stages = dict(stages or {})
        self._request_s = request_s
        self._patience_s = patience_s
        self._prompts_per_call = prompts_per_call
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._addresses: dict[str, str] = {}
        self._session: aiohttp.ClientSession | None = None

    async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        """One sample for each request, in order. Raises `EndpointError`."""
        calls = [requests[i : i + self._prompts_per_call] for i in range(0, len(requests), self._prompts_per_call)]
        answers = await asyncio.gather(*(self._call(call) for call in calls))
        return [sample for answer in answers for sample in answer]

    async def models(self, base: str = "main") -> list[str]:
        """Names that the server of `base` knows: its own first, then its adapters."""
        return list(await self.meanings(base))

    async def meanings(self, base: str = "main") -> dict[str, str]:
        """The exact model id that each name on the server of `base` means now."""
        answer = await self._ask(base, "GET", "/v1/models")
        return {card["id"]: card.get("root") or card["id"] for card in answer["data"]}

    async def close(self) -> None:
        """End the connections; safe to call twice."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _call(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        first = requests[0]
        shared = (first.model_id, first.max_tokens, first.temperature, first.choices, first.grammar)
        if any((r.model_id, r.max_tokens, r.temperature, r.choices, r.grammar) != shared for r in requests):
            raise ValueError("the requests of one call must share model, limit, temperature, choices and grammar")
        body = {
            "model": first.model_id,
            "prompts": [request.prompt_ids for request in requests],
            "max_tokens": first.max_tokens,
            "temperature": first.temperature,
            "seeds": [request.seed for request in requests],
            "choices": first.choices,
            **({"grammar": first.grammar} if first.grammar else {}),
        }
        answer = await self._ask(self._base(first.model_id), "POST", "/forge/sample", body)
        return [_sample(fields) for fields in answer["samples"]]

    def _base(self, model_id: str) -> str:
        """The base whose server knows `model_id`."""
        if model_id in self._urls:
            return model_id
        stage, separator, _ = model_id.partition("@")
        base = self._stages.get(stage, "main")
        if not separator or stage not in (*STAGES, COMBINED, *self._stages) or base not in self._urls:
            raise EndpointError(f"'{model_id}' is no model id; give one of the bases {sorted(self._urls)} or stage@version")
        return base

    async def _ask(self, base: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer's JSON, asked for again while the server is away."""
        deadline = time.monotonic() + self._patience_s
        pause, deaths = FIRST_PAUSE_S, 0
        while True:
            try:
                return await self._ask_once(base, method, path, body)
            except _AwayError as away:
                self._addresses.pop(base, None)
                deaths += away.died
                if deaths == DEATHS:
                    raise EndpointError(f"the model server died {DEATHS} times while it worked on one call ({away})") from away
                if time.monotonic() + pause > deadline:
                    raise EndpointError(
                        f"the model server at {self._urls[base]} did not answer for {self._patience_s:.0f} s ({away}); "
                        "look at the application in the Ray dashboard"
                    ) from away
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _ask_once(self, base: str, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        address = self._addresses.get(base) or await self._find(base)
        return await self._exchange(method, address + path, body)

    async def _find(self, base: str) -> str:
        """The replica's own address; a server that has none is spoken to at its URL."""
        try:
            address: str = (await self._exchange("GET", self._urls[base] + "/forge/address", None))["url"]
        except EndpointError:
            address = self._urls[base]
        self._addresses[base] = address
        return address

    async def _exchange(self, method: str, url: str, body: Mapping[str, Any] | None) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._request_s), connector=aiohttp.TCPConnector(limit=0), headers=self._headers
            )
        try:
            async with self._session.request(method, url, json=body) as response:
                raw = await response.read()
        except aiohttp.ClientError as error:
            died = not isinstance(error, aiohttp.ClientConnectorError)
            raise _AwayError(f"{type(error).__name__}: {error}", died=died) from error
        except TimeoutError as error:
            raise EndpointError(f"{url} took longer than {self._request_s:.0f} s; is the engine overloaded?") from error
        if response.status == 500 or response.status in AWAY_STATUSES:
            raise _AwayError(f"HTTP {response.status}: {message_of(raw)}", died=response.status == 500)
        if response.status != 200:
            raise EndpointError(f"{url} answered HTTP {response.status}: {message_of(raw)}")
        return json.loads(raw)


class _AwayError(Exception):
    """The server is not there at the moment, or `died` while it worked on the call; worth another try."""

    def __init__(self, what: str, *, died: bool) -> None:
        super().__init__(what)
        self.died = died


def _sample(fields: Mapping[str, Any]) -> Sample:
    return Sample(
        completion_ids=tuple(fields["ids"]),
        logprobs=tuple(fields["logprobs"]),
        choice_logprobs=tuple(fields["choices"]),
        finish=fields["finish"],
    )


def message_of(raw: bytes) -> str:
    """The server's own words, out of an OpenAI error body where it is one."""
    try:
        message: str = json.loads(raw)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return raw[:300].decode("utf-8", "replace")
    return message
