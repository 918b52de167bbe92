"""Real Serve and vLLM behind the front: promotions under traffic, versions on demand, more of them than slots, keys on every way in."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import openai
import pytest

from forge.endpoint.client import EndpointModel
from forge.seams import SampleRequest
from forge.store.keys import KeyFile
from serve import app
from serve.app import Catalogue
from serve.names import Version
from tests.vllm.conftest import Served
from tests.vllm.tiny_models import make_adapter

MESSAGES: Any = [{"role": "user", "content": "find the bug"}]


def version(path: str, stage: str = "generation") -> Version:
    return Version(stage=stage, base="main", path=path, round=1)


@pytest.fixture(scope="module")
def versions(served: Served) -> dict[str, Version]:
    """Twice as many versions of generation as the engine has slots and places beside them."""
    made = {f"generation@r1-v{n}": str(make_adapter(served.folder / f"version-{n}", served.base, seed=200 + n)) for n in range(24)}
    return {name: version(path) for name, path in made.items()}


def test_a_promotion_under_traffic_loses_no_request_and_holds_from_one_request_to_the_next(
    served: Served, versions: dict[str, Version]
) -> None:
    names = list(versions)[:4]
    served.deploy({}, Catalogue(versions=versions, promoted={"generation": names[0]}))
    found: list[tuple[str, str, float]] = []
    switched: dict[str, float] = {}

    async def whole() -> None:
        client = openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)
        stop = asyncio.Event()

        async def ask(model: str) -> None:
            while not stop.is_set():
                began = time.monotonic()
                answer = await client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=4)
                found.append((model, answer.model, began))

        async def promote() -> None:
            for name in [*names[1:], names[0]]:
                await asyncio.sleep(1.0)
                await asyncio.to_thread(served.deploy, {}, Catalogue(versions=versions, promoted={"generation": name}))
                switched[name] = time.monotonic()
            await asyncio.sleep(0.5)
            stop.set()

        await asyncio.gather(promote(), *(ask("generation") for _ in range(4)), ask("main"), ask(names[0]))
        await client.close()

    asyncio.run(whole())
    answered = [name for model, name, _ in sorted(found, key=lambda one: one[2]) if model == "generation"]
    assert set(answered) == set(names)
    last = max(switched.values())
    assert {name for model, name, began in found if model == "generation" and began > last} == {names[0]}
    assert {name for model, name, _ in found if model != "generation"} == {"main", names[0]}


def test_versions_that_are_not_loaded_answer_when_they_are_asked_for_however_many_there_are(
    served: Served, versions: dict[str, Version]
) -> None:
    served.deploy({}, Catalogue(versions=versions))
    prompt = served.prompt("def add(a, b):")

    async def ask(model: EndpointModel) -> list[tuple[float, ...]]:
        found = []
        for name in [*versions, *versions]:
            (sample,) = await model.sample([SampleRequest(model_id=name, prompt_ids=prompt, max_tokens=3)])
            found.append(sample.logprobs)
        return found

    found = served.ask(ask)
    assert served.config.serve.max_adapters < len(versions)
    assert found[: len(versions)] == [pytest.approx(again, abs=1e-4) for again in found[len(versions) :]]
    assert len({str(logprobs) for logprobs in found[: len(versions)]}) == len(versions), "two versions answer the same"


def test_with_keys_every_way_in_asks_for_one(served: Served, tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    secret = file.add("ci", ["infer"])
    config = served.config.model_copy(update={"serve": served.config.serve.model_copy(update={"keys": str(file.path)})})
    app.deploy(config, served.bases, {"main": served.adapters})
    try:
        assert status(f"{served.url}/v1/models") == 401
        assert status(f"{served.url}/forge/address") == 401
        told = json.loads(read(f"{served.url}/forge/address", secret))
        for url in (served.url, told["url"]):
            for path in ("/v1/models", "/openapi.json", "/metrics", "/version"):
                assert status(url + path) == 401, path
            assert status(url + "/v1/models", secret) == 200
            assert status(url + "/metrics", secret) == 403
            assert status(url + "/metrics", file.own()) == 200
            assert status(url + "/health") == 200
            assert status(url + "/adapters", file.own()) == 404
        requests = [SampleRequest(model_id="main", prompt_ids=served.prompt("x"), max_tokens=2)]
        assert asyncio.run(sampled(served.url, file.own(), requests))
        file.revoke("ci")
        file.add("other", ["infer"])
        app.deploy(config, served.bases, {"main": served.adapters})
        assert status(f"{served.url}/v1/models", secret) == 401, "a revoked key opens nothing after the next deploy"
    finally:
        served.set_adapters(served.adapters)


def test_the_description_tells_of_the_routes_that_there_are(served: Served) -> None:
    described = json.loads(read(f"{served.url}/openapi.json"))
    assert "/v1/chat/completions" in described["paths"] and "/forge/sample" in described["paths"]
    assert not [path for path in described["paths"] if "lora" in path or "adapter" in path]


async def sampled(url: str, key: str, requests: list[SampleRequest]) -> int:
    model = EndpointModel({"main": url}, api_key=key)
    try:
        return len(await model.sample(requests))
    finally:
        await model.close()


def read(url: str, key: str = "") -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})
    body: bytes = urllib.request.urlopen(request, timeout=60).read()
    return body


def status(url: str, key: str = "") -> int:
    try:
        read(url, key)
    except urllib.error.HTTPError as refused:
        return refused.code
    return 200
