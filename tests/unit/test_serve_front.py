"""The front before a stand-in for vLLM's app: who may ask, how much, and which model is meant; no Ray, no vLLM."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from forge.config import ServeConfig
from forge.store.keys import KeyFile
from serve.front import ROUTES, Front, Stamped
from serve.names import Names, Version

VERSIONS = {
    "generation@r1-aaaa": Version(stage="generation", base="main", path="/store/generation/r1-aaaa", round=1, metrics={"eval_loss": 0.5}),
    "generation@r2-bbbb": Version(stage="generation", base="main", path="/store/generation/r2-bbbb", round=2),
    "review@r2-cccc": Version(stage="review", base="small", path="/store/review/r2-cccc", round=2),
}
NAMES = Names(
    own="main",
    bases={"main": "http://one", "small": "http://two/small"},
    versions=VERSIONS,
    promoted={"generation": "generation@r2-bbbb", "review": "review@r2-cccc"},
    adapters={"generation@r2-bbbb": "/store/generation/r2-bbbb"},
)


class Inner:
    """vLLM's app, for the front: says back what it was asked, after `pause` is set."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.pause = asyncio.Event()
        self.pause.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        event = await receive()
        body = event.get("body", b"")
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.calls.append({"path": scope["path"], "body": body, "headers": headers})
        await self.pause.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body or b"{}"})


class Setting:
    """A front, what is behind it, and a client before it."""

    def __init__(self, **config: Any) -> None:
        self.inner, self.forwarded, self.loaded, self.watched = Inner(), [], [], []
        self.problem = ""
        self.front = Front(
            self.inner,
            ServeConfig(**config),
            load=self.load,
            ready=lambda: self.problem,
            forward=self.forward,
            watch=lambda **seen: self.watched.append(seen),
        )
        self.front.follow(NAMES, ())

    async def load(self, model_id: str, path: str) -> str:
        self.loaded.append((model_id, path))
        return self.problem

    async def forward(self, url: str, scope: Any, body: bytes, send: Any) -> None:
        self.forwarded.append((url, scope["path"], json.loads(body)))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    def client(self, root: str = "") -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(Stamped(self.front), root_path=root), base_url=f"http://front{root}")


def run(use: Callable[[Setting, httpx.AsyncClient], Awaitable[None]], **config: Any) -> Setting:
    """The setting after `use`."""

    async def whole() -> Setting:
        setting = Setting(**config)
        async with setting.client() as client:
            await use(setting, client)
        return setting

    return asyncio.run(whole())


def test_a_stage_means_its_promoted_version_and_an_exact_name_itself() -> None:
    async def use(setting: Setting, client: httpx.AsyncClient) -> None:
        for model in ("generation", "generation@r2-bbbb", "generation@r1-aaaa", "main"):
            answer = await client.post("/v1/completions", json={"model": model, "prompt": "x"})
            assert answer.status_code == 200, answer.text
        await client.post("/v1/completions", content=b'{ "prompt": "x" }')

    setting = run(use)
    asked = [json.loads(call["body"]).get("model") for call in setting.inner.calls]
    assert asked == ["generation@r2-bbbb", "generation@r2-bbbb", "generation@r1-aaaa", "main", None]
    assert setting.inner.calls[1]["body"] == b'{"model":"generation@r2-bbbb","prompt":"x"}', "an exact name is passed on as it came"
    assert setting.inner.calls[4]["body"] == b'{ "prompt": "x" }'
    assert [int(call["headers"]["content-length"]) for call in setting.inner.calls] == [len(call["body"]) for call in setting.inner.calls]
    assert ("generation@r1-aaaa", "/store/generation/r1-aaaa") in setting.loaded, "a version that is not loaded yet is loaded on demand"


def test_a_promotion_holds_for_the_next_request() -> None:
    async def use(setting: Setting, client: httpx.AsyncClient) -> None:
        await client.post("/v1/completions", json={"model": "generation"})
        setting.front.follow(NAMES.model_copy(update={"promoted": {"generation": "generation@r1-aaaa"}}), ())
        await client.post("/v1/completions", json={"model": "generation"})

    asked = [json.loads(call["body"])["model"] for call in run(use).inner.calls]
    assert asked == ["generation@r2-bbbb", "generation@r1-aaaa"]


def test_a_model_of_another_base_is_asked_there() -> None:
    async def use(_: Setting, client: httpx.AsyncClient) -> None:
        for model in ("review", "small"):
            assert (await client.post("/v1/chat/completions", json={"model": model, "messages": []})).status_code == 200

    setting = run(use)
    assert [(url, path, body["model"]) for url, path, body in setting.forwarded] == [
        ("http://two/small", "/v1/chat/completions", "review@r2-cccc"),
        ("http://two/small", "/v1/chat/completions", "small"),
    ]
    assert not setting.inner.calls


@pytest.mark.parametrize("model", ["generation@r9-none", "gpt-4", "", 7, {"a": 1}, ["x"]])
def test_an_unknown_name_gets_openai_s_error_with_the_known_ones(model: object) -> None:
    async def use(_: Setting, client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/completions", json={"model": model})
        assert answer.status_code == 404
        error = answer.json()["error"]
        assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", "model", "model_not_found")
        assert "known are main, small, generation, review, generation@r1-aaaa" in error["message"]

    assert not run(use).inner.calls


def test_models_tell_stage_round_and_metrics_and_never_a_path() -> None:
    async def use(_: Setting, client: httpx.AsyncClient) -> None:
        cards = {card["id"]: card for card in (await client.get("/v1/models")).json()["data"]}
        assert list(cards) == ["main", "small", "generation", "review", *sorted(VERSIONS)]
        assert cards["generation"]["root"] == "generation@r2-bbbb"
        told = {"base": "main", "stage": "generation", "round": 1, "metrics": {"eval_loss": 0.5}, "promoted": False}
        assert cards["generation@r1-aaaa"]["forge"] == told
        assert cards["generation@r2-bbbb"]["forge"]["promoted"] is True
        assert cards["review@r2-cccc"]["parent"] == "small"
        assert "/store" not in json.dumps(cards)
        assert (await client.get("/v1/models/generation@r1-aaaa")).json() == cards["generation@r1-aaaa"]
        assert (await client.get("/v1/models/nothing")).status_code == 404

    run(use)


def test_only_known_routes_exist(tmp_path: Path) -> None:
    async def use(setting: Setting, client: httpx.AsyncClient) -> None:
        for path in ("/v1/load_lora_adapter", "/adapters", "/invocations", "/v1/embeddings", "/docs", "//v1/models", "/v1/models/../../x"):
            answer = await client.post(path, json={"model": "main"})
            assert answer.status_code in (404, 405), path
        assert (await client.delete("/v1/models")).headers["allow"] == "GET"
        assert not setting.inner.calls

    run(use)


def with_keys(setting: Setting, folder: Path) -> dict[str, str]:
    file = KeyFile(folder / "keys.json")
    secrets = {"asker": file.add("asker", ["infer"], 3), "solver": file.add("solver", ["solve"]), "boss": file.add("boss", ["admin"])}
    setting.front.follow(NAMES, file.read())
    return secrets


def test_every_route_but_health_asks_for_a_key_of_the_right_scope(tmp_path: Path) -> None:
    async def use(setting: Setting, client: httpx.AsyncClient) -> None:
        keys = with_keys(setting, tmp_path)
        for (method, path), scope in ROUTES.items():
            bare = await client.request(method, path, json={"model": "main"})
            wrong = await client.request(method, path, json={"model": "main"}, headers={"authorization": "Bearer forge-nothing"})
            solver = await client.request(method, path, json={"model": "main"}, headers={"authorization": f"Bearer {keys['solver']}"})
            boss = await client.request(method, path, json={"model": "main"}, headers={"x-api-key": keys["boss"]})
            expected = [200, 200, 200, 200] if scope is None else [401, 401, 403, 200]
            assert [answer.status_code for answer in (bare, wrong, solver, boss)] == expected, path
            if scope is not None:
                assert bare.json()["error"]["code"] == "invalid_api_key"
                assert bare.headers["www-authenticate"] == "Bearer"

    setting = run(use)
    assert all(call["headers"].get("x-api-key") for call in setting.inner.calls if call["path"] != "/health")


def test_a_key_may_ask_so_often_and_is_told_when_again(tmp_path: Path) -> None:
    async def use(setting: Setting, client: httpx.AsyncClient) -> None:
        header = {"authorization": f"bearer {with_keys(setting, tmp_path)['asker']}"}
        answers = [await client.get("/v1/models", headers=header) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 21

    run(use)


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"model": "main", "n": 1e999'])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    async def use(_: Setting, client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/completions", content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")

    assert not run(use).inner.calls


def test_what_is_too_long_too_slow_or_too_much_is_refused() -> None:
    async def use(_: Setting, client: httpx.AsyncClient) -> None:
        assert (await client.post("/v1/completions", content=b" " * 2000)).status_code == 413

        async def slow() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.sleep(5)

        assert (await client.post("/v1/completions", content=slow())).status_code == 408
        for call in ({"n": 9}, {"prompt": ["a"] * 9}, {"prompts": [[1]] * 9}):
            assert (await client.post("/v1/completions", json={"model": "main", **call})).status_code == 400, call
        assert (await client.post("/v1/completions", json={"model": "main", "prompt": list(range(50))})).status_code == 200

    run(use, max_request_bytes=1024, read_s=0.1, max_choices=8)


def test_requests_beyond_the_places_are_told_to_come_again() -> None:
    async def use(setting: Setting, client: httpx.AsyncClient) -> None:
        setting.inner.pause.clear()
        waiting = [asyncio.create_task(client.post("/v1/completions", json={"model": "main"})) for _ in range(2)]
        while len(setting.inner.calls) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        third = await client.post("/v1/completions", json={"model": "main"})
        assert (third.status_code, third.headers["retry-after"]) == (503, "1")
        setting.inner.pause.set()
        assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200, 200]
        assert setting.front.under_way == 0

    run(use, max_waiting=2)


@pytest.mark.parametrize("wait", [0.0, 5.0])
def test_while_the_card_is_lent_requests_wait_or_come_again(wait: float) -> None:
    async def use(setting: Setting, client: httpx.AsyncClient) -> None:
        setting.front.follow(NAMES.model_copy(update={"asleep": True}), ())
        assert (await client.get("/ready")).json() == {"ready": False, "reason": "the card is lent to training"}
        assert (await client.get("/health")).status_code == 200
        asked = asyncio.create_task(client.post("/v1/completions", json={"model": "main"}))
        await asyncio.sleep(0.05)
        setting.front.follow(NAMES, ())
        answer = await asked
        assert answer.status_code == (200 if wait else 503)
        assert wait or answer.headers["retry-after"] == "30"

    run(use, asleep_wait_s=wait)


def test_a_card_is_lent_when_what_was_under_way_is_answered() -> None:
    async def use(setting: Setting, client: httpx.AsyncClient) -> None:
        setting.inner.pause.clear()
        asked = asyncio.create_task(client.post("/v1/completions", json={"model": "main"}))
        while not setting.inner.calls:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        setting.front.follow(NAMES.model_copy(update={"asleep": True}), ())
        drained = asyncio.create_task(setting.front.drained())
        late = asyncio.create_task(client.post("/v1/completions", json={"model": "main"}))
        await asyncio.sleep(0.2)
        assert not drained.done() and not late.done()
        setting.inner.pause.set()
        await drained
        assert (await asked).status_code == 200 and not late.done(), "who waits for the card does not keep it"
        setting.front.follow(NAMES, ())
        assert (await late).status_code == 200

    run(use, asleep_wait_s=10)


def test_an_adapter_that_cannot_be_loaded_is_a_503_with_the_reason() -> None:
    async def use(setting: Setting, client: httpx.AsyncClient) -> None:
        setting.problem = "its files are gone"
        answer = await client.post("/v1/completions", json={"model": "generation@r1-aaaa"})
        assert (answer.status_code, "its files are gone" in answer.json()["error"]["message"]) == (503, True)
        assert (await client.get("/ready")).status_code == 503

    run(use)


def test_a_request_has_one_id_through_all_hops() -> None:
    async def use(_: Setting, client: httpx.AsyncClient) -> None:
        named = await client.post("/v1/completions", json={"model": "main"}, headers={"x-request-id": "mine-7"})
        assert named.headers["x-request-id"] == "mine-7"
        odd = await client.post("/v1/completions", json={"model": "main"}, headers={"x-request-id": "a b\x7f"})
        assert odd.headers["x-request-id"] != "a b" and len(odd.headers["x-request-id"]) == 32
        assert (await client.get("/nowhere")).headers["x-request-id"]

    setting = run(use)
    assert setting.inner.calls[0]["headers"]["x-request-id"] == "mine-7"
    assert [(seen["route"], seen["model"], seen["status"]) for seen in setting.watched] == [
        ("/v1/completions", "main", 200),
        ("/v1/completions", "main", 200),
        ("unknown", "", 404),
    ]


def test_a_base_below_a_prefix_answers_on_its_own_routes() -> None:
    async def whole() -> None:
        setting = Setting()
        async with setting.client("/small") as client:
            answer = await client.post("/v1/completions", json={"model": "generation@r2-bbbb"})
            assert answer.status_code == 200 and setting.inner.calls[0]["path"] == "/v1/completions"
            assert (await client.get("/v1/models")).status_code == 200
            assert (await client.get("/nowhere")).status_code == 404

    asyncio.run(whole())
