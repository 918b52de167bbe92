"""The client against a server on loopback that answers as `serve/` does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from forge.endpoint import client as client_module
from forge.endpoint.client import EndpointModel
from forge.errors import EndpointError
from forge.seams import SampleRequest

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Server:
    """Echoes prompts reversed, as `/forge/sample` would sample them; `broken` answers come first."""

    def __init__(self, broken: int = 0, status: int = 503) -> None:
        self.broken, self.status = broken, status
        self.bodies: list[dict[str, object]] = []
        self.finds = 0
        self.server: TestServer | None = None

    async def address(self, request: web.Request) -> web.Response:
        self.finds += 1
        return web.json_response({"url": str(request.url.origin())})

    async def sample(self, request: web.Request) -> web.Response:
        if self.broken:
            self.broken -= 1
            return web.Response(status=self.status, text="no replica")
        body = await request.json()
        self.bodies.append(body)
        if body["model"] == "generation@r9-gone":
            return web.json_response({"error": {"message": "there is no model 'generation@r9-gone'; known are main"}}, status=404)
        samples = [
            {"ids": ids[::-1], "logprobs": [-0.5] * len(ids), "choices": [-1.0 for _ in body["choices"]], "finish": "stop"}
            for ids in body["prompts"]
        ]
        return web.json_response({"samples": samples})

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "main"}, {"id": "generation@r1-aa"}]})


def talk(server: Server, use: Callable[[EndpointModel], Awaitable[object]], **options: float) -> object:
    async def run() -> object:
        app = web.Application()
        app.add_routes([web.get("/forge/address", server.address), web.post("/forge/sample", server.sample)])
        app.add_routes([web.get("/v1/models", server.models)])
        async with TestServer(app) as running:
            model = EndpointModel({"main": str(running.make_url("/"))}, **options)  # type: ignore[arg-type]
            try:
                return await use(model)
            finally:
                await model.close()

    return asyncio.run(run())


def requests(count: int, model_id: str = "main") -> list[SampleRequest]:
    return [SampleRequest(model_id=model_id, prompt_ids=(i, i + 1, i + 2), max_tokens=4, seed=i) for i in range(count)]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    # The pauses are constants for a server that restarts; the tests want the same behaviour sooner.
    monkeypatch.setattr(client_module, "FIRST_PAUSE_S", 0.01)


def test_samples_come_back_in_the_order_of_the_requests_over_several_calls() -> None:
    server = Server()
    samples = talk(server, lambda model: model.sample(requests(7)), prompts_per_call=3)
    assert [sample.completion_ids for sample in samples] == [(i + 2, i + 1, i) for i in range(7)]  # type: ignore[attr-defined]
    assert len(server.bodies) == 3 and server.finds >= 1
    assert sorted(seed for body in server.bodies for seed in body["seeds"]) == list(range(7))  # type: ignore[attr-defined]


def test_choices_have_a_logprob_each() -> None:
    request = SampleRequest(model_id="review@r1-aa", prompt_ids=(5,), max_tokens=1, choices=(8, 9))
    (sample,) = talk(Server(), lambda model: model.sample([request]))  # type: ignore[misc]
    assert sample.choice_logprobs == (-1.0, -1.0)


def test_a_grammar_is_sent_where_there_is_one_and_one_call_has_one() -> None:
    server, plain = Server(), requests(1)
    held = [request.model_copy(update={"grammar": 'root ::= "1"'}) for request in plain]
    talk(server, lambda model: model.sample(held))
    talk(server, lambda model: model.sample(plain))
    assert [body.get("grammar") for body in server.bodies] == ['root ::= "1"', None]
    with pytest.raises(ValueError, match="must share model"):
        talk(server, lambda model: model.sample([*held, *plain]))


@pytest.mark.parametrize(("status", "times"), [(503, 5), (500, 2)])
def test_a_restarting_replica_is_waited_for_and_found_again(status: int, times: int) -> None:
    server = Server(broken=times, status=status)
    samples = talk(server, lambda model: model.sample(requests(1)), patience_s=20.0)
    assert len(samples) == 1 and server.finds == times + 1  # type: ignore[arg-type]


def test_a_call_that_kills_the_server_each_time_is_given_up() -> None:
    server = Server(broken=10**6, status=500)
    with pytest.raises(EndpointError, match="died 3 times while it worked on one call"):
        talk(server, lambda model: model.sample(requests(1)), patience_s=60.0)
    assert server.finds == 3


def test_a_server_that_stays_away_is_an_endpoint_error() -> None:
    with pytest.raises(EndpointError, match=r"did not answer for 0 s .HTTP 503: no replica"):
        talk(Server(broken=10**6), lambda model: model.sample(requests(1)), patience_s=0.2)


def test_a_refused_connection_is_an_endpoint_error_that_names_the_address() -> None:
    async def run() -> None:
        model = EndpointModel({"main": "http://127.0.0.1:9"}, patience_s=0.1)
        try:
            await model.sample(requests(1))
        finally:
            await model.close()

    with pytest.raises(EndpointError, match=r"http://127\.0\.0\.1:9 did not answer"):
        asyncio.run(run())


def test_an_unknown_version_is_refused_at_once_with_the_known_names() -> None:
    server = Server()
    with pytest.raises(EndpointError, match="known are main"):
        talk(server, lambda model: model.sample(requests(1, "generation@r9-gone")))
    assert len(server.bodies) == 1


def test_a_name_that_is_neither_base_nor_version_never_leaves_the_client() -> None:
    server = Server()
    with pytest.raises(EndpointError, match="'gpt-4' is no model id"):
        talk(server, lambda model: model.sample(requests(1, "gpt-4")))
    assert server.finds == 0


def test_a_call_that_takes_too_long_is_an_endpoint_error() -> None:
    class Slow(Server):
        async def sample(self, request: web.Request) -> web.Response:
            await asyncio.sleep(5)
            return web.Response()

    with pytest.raises(EndpointError, match="took longer than"):
        talk(Slow(), lambda model: model.sample(requests(1)), request_s=0.2)


def test_requests_of_one_call_must_share_their_model() -> None:
    mixed = [*requests(1), *requests(1, "review@r1-aa")]
    with pytest.raises(ValueError, match="must share model"):
        talk(Server(), lambda model: model.sample(mixed))


def test_a_stage_is_asked_at_the_base_it_is_trained_on() -> None:
    async def run() -> list[str]:
        seen: list[str] = []

        async def sample(request: web.Request) -> web.Response:
            seen.append(request.path)
            return web.json_response({"samples": [{"ids": [1], "logprobs": [0.0], "choices": [], "finish": "stop"}]})

        app = web.Application()
        app.add_routes([web.post("/forge/sample", sample), web.post("/small/forge/sample", sample)])
        async with TestServer(app) as running:
            root = str(running.make_url("/")).rstrip("/")
            model = EndpointModel({"main": root, "small": f"{root}/small"}, stages={"review": "small", "combined": "small"})
            await model.sample(requests(1, "review@r1-aa"))
            await model.sample(requests(1, "planning@r1-aa"))
            await model.sample(requests(1, "combined@r0-aa"))
            await model.close()
        return seen

    assert asyncio.run(run()) == ["/small/forge/sample", "/forge/sample", "/small/forge/sample"]


def test_models_lists_what_the_server_knows() -> None:
    assert talk(Server(), lambda model: model.models()) == ["main", "generation@r1-aa"]
