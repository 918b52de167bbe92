"""The llama.cpp engine around a stand-in for llama-server that is a real process on a real socket; no Ray, no llama.cpp."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from forge import nano
from forge.config import BaseModelConfig, ServeConfig
from forge.endpoint.tokens import BaseTokenizer
from forge.errors import EnvironmentLackError, ExportError
from forge.fakes import llama_server as fake
from serve import pick
from serve.llama import child
from serve.llama.server import LlamaServer, StartLlama
from serve.llama.turns import Turns

ROOT = Path(__file__).parents[2]
MESSAGES = [{"role": "user", "content": "find the bug"}]


class Files:
    """A `Material` whose files hold nothing: the stand-in only looks whether they are there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def weights(self) -> Path:
        return self._file("base-f32-x")

    def adapter(self, folder: Path) -> Path:
        if "strange" in folder.name:
            raise ExportError(f"{folder} is of another base")
        file = self._file(f"adapter-{folder.name}")
        if "lost" in folder.name:
            file.unlink()
        return file

    def tokenizer(self) -> BaseTokenizer:
        return BaseTokenizer(nano.WEIGHTS)

    def _file(self, name: str) -> Path:
        file = self.folder / f"{name}.gguf"
        file.touch()
        return file


class Setting:
    def __init__(self, server: LlamaServer, client: httpx.AsyncClient, folder: Path) -> None:
        self.server, self.client, self.folder = server, client, folder

    async def post(self, path: str, **body: Any) -> Any:
        answer = await self.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ids(self, model: str, prompt: int = 10) -> list[int]:
        answer = await self.post("/forge/sample", model=model, prompts=[[prompt]], max_tokens=2)
        found: list[int] = answer["samples"][0]["ids"]
        return found

    @property
    def pid(self) -> int:
        running = self.server.pool._child
        assert running is not None
        return running.process.pid


@pytest.fixture
def with_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    # llama-server is found on the PATH, and leaves its socket in the folder for temporary files.
    fake.program(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def run(use: Callable[[Setting], Awaitable[None]], adapters: dict[str, str] | None = None, **serve: Any) -> None:
        async def whole() -> None:
            config = ServeConfig(engine="llama", **serve)
            server = await StartLlama("main", str(nano.WEIGHTS), BaseModelConfig(), config, Files(tmp_path))()
            await server.adapters.follow({"generation@r1-a": "/store/a", "review@r1-b": "/store/b"} if adapters is None else adapters)
            try:
                async with httpx.AsyncClient(transport=httpx.ASGITransport(server.app), base_url="http://llama") as client:
                    await use(Setting(server, client, tmp_path))
            finally:
                await server.pool.stop()

        asyncio.run(whole())
        assert not list(tmp_path.glob(f"{child.PREFIX}*")), "a server leaves nothing behind"

    return run


def test_each_name_answers_with_its_own_adapter_also_when_all_ask_at_once(with_server: Callable[..., None]) -> None:
    async def use(setting: Setting) -> None:
        names = ["main", "generation@r1-a", "review@r1-b"] * 4
        found = await asyncio.gather(*(setting.ids(name) for name in names))
        assert found == [[11, 12], [12, 14], [13, 16]] * 4

    with_server(use)


def test_a_chat_has_its_prompts_and_answers_ids_and_a_logprob_for_each(with_server: Callable[..., None]) -> None:
    async def use(setting: Setting) -> None:
        options = {"max_tokens": 3, "temperature": 0.0, "return_token_ids": True, "logprobs": True, "top_logprobs": 2}
        answer = await setting.post("/v1/chat/completions", model="generation@r1-a", messages=MESSAGES, **options)
        tokenizer = BaseTokenizer(nano.WEIGHTS)
        prompt = tokenizer.encode(tokenizer.rendered(MESSAGES, add_generation_prompt=True))
        assert answer["prompt_token_ids"] == list(prompt) and answer["model"] == "generation@r1-a"
        (choice,) = answer["choices"]
        first = prompt[-1] + 2
        assert choice["token_ids"] == [first, first + 2, first + 4] and choice["finish_reason"] == "length"
        assert choice["message"]["content"] == f"<{first}><{first + 2}><{first + 4}>"
        assert [len(entry["top_logprobs"]) for entry in choice["logprobs"]["content"]] == [2, 2, 2]
        assert answer["usage"] == {
            "prompt_tokens": len(prompt), "completion_tokens": 3, "total_tokens": len(prompt) + 3,
            "prompt_tokens_details": {"cached_tokens": len(prompt) // 2},
        }  # fmt: skip

    with_server(use)


def test_the_tokens_of_every_answer_are_told_by_model(with_server: Callable[..., None]) -> None:
    async def use(setting: Setting) -> None:
        found: list[tuple[str, int, int, int]] = []
        setting.server.tell(lambda model, *, prompt, cached, written: found.append((model, prompt, cached, written)))
        await setting.post("/forge/sample", model="main", prompts=[[10, 11, 12, 13]], max_tokens=3)
        await setting.post("/forge/sample", model="review@r1-b", prompts=[[10, 11]], max_tokens=1, choices=[13, 14])
        await setting.post("/v1/completions", model="generation@r1-a", prompt=[10, 11], max_tokens=2)
        body = {"model": "main", "prompt": [10, 11], "max_tokens": 2, "stream": True, "stream_options": {"include_usage": True}}
        streamed = await setting.client.post("/v1/completions", json=body)
        assert '"prompt_tokens_details":{"cached_tokens":1}' in streamed.text
        assert found == [("main", 4, 2, 3), ("review@r1-b", 2, 1, 1), ("generation@r1-a", 2, 1, 2), ("main", 2, 1, 2)]

    with_server(use)


def test_a_stream_says_what_the_whole_answer_says(with_server: Callable[..., None]) -> None:
    async def use(setting: Setting) -> None:
        body = {"model": "main", "messages": MESSAGES, "max_tokens": 3, "stream": True, "stream_options": {"include_usage": True}}
        for more in ({}, {"return_token_ids": True}):
            answer = await setting.client.post("/v1/chat/completions", json=body | more)
            lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
            assert answer.headers["content-type"].startswith("text/event-stream") and lines[-1] == "[DONE]"
            parts = [json.loads(line) for line in lines[:-1]]
            said = "".join(part["choices"][0]["delta"].get("content", "") for part in parts if part["choices"])
            assert said == "<202><203><204>" and parts[0]["choices"][0]["delta"]["role"] == "assistant"
            assert [p["choices"][0]["finish_reason"] for p in parts if p["choices"]][-1] == "length"
            assert parts[-1]["usage"]["completion_tokens"] == 3
        refused = await setting.client.post("/v1/chat/completions", json=body | {"max_tokens": 5000})
        assert refused.status_code == 400 and "5000 tokens are asked for" in refused.json()["error"]["message"]

    with_server(use)


def test_tokens_that_end_inside_a_character_have_their_logprobs_too(with_server: Callable[..., None]) -> None:
    async def use(setting: Setting) -> None:
        answer = await setting.post("/forge/sample", model="main", prompts=[[fake.HALF - 2]], max_tokens=3)
        (sample,) = answer["samples"]
        assert sample["ids"] == [fake.HALF - 1, fake.HALF, fake.HALF + 1]
        assert sample["logprobs"] == [0.0, 0.0, 0.0]

    with_server(use)


def test_an_answer_ends_with_its_end_token_or_before_a_stop_text(with_server: Callable[..., None]) -> None:
    async def use(setting: Setting) -> None:
        answer = await setting.post("/forge/sample", model="main", prompts=[[fake.LAST - 1]], max_tokens=9)
        assert answer["samples"][0]["ids"] == [fake.LAST, fake.END] and answer["samples"][0]["finish"] == "stop"
        answer = await setting.post(
            "/v1/completions", model="main", prompt=[10], max_tokens=4, stop="<13>", logprobs=0, return_token_ids=True
        )
        (choice,) = answer["choices"]
        assert choice["text"] == "<11><12>" and (choice["finish_reason"], choice["stop_reason"]) == ("stop", "<13>")
        assert choice["token_ids"] == [11, 12, 13, 14] and len(choice["logprobs"]["tokens"]) == 4

    with_server(use)


def test_a_judgement_has_logprobs_of_all_choices_and_chooses_the_best(with_server: Callable[..., None]) -> None:
    async def use(setting: Setting) -> None:
        answer = await setting.post("/forge/sample", model="main", prompts=[[10]], max_tokens=1, choices=[900, 15])
        assert answer["samples"] == [{"ids": [15], "logprobs": [-0.5], "choices": [-889 / 8, -0.5], "finish": "length"}]
        asked = {"model": "main", "prompts": [[10]], "max_tokens": 1, "choices": [11, 12], "temperature": 1.0}
        drawn = [await setting.post("/forge/sample", **asked, seeds=[seed]) for seed in (1, 1, 2, 3, 4, 5, 6)]
        found = [one["samples"][0]["ids"][0] for one in drawn]
        assert found[0] == found[1] and set(found) == {11, 12}

    with_server(use)


def test_an_adapter_is_added_beside_what_is_being_answered(with_server: Callable[..., None]) -> None:
    async def use(setting: Setting) -> None:
        before, hold = setting.pid, setting.folder / fake.HOLD
        hold.touch()
        slow = asyncio.create_task(setting.post("/v1/completions", model="generation@r1-a", prompt=[10], max_tokens=60, temperature=0.0))
        await until(lambda: setting.server.pool._child is not None and setting.server.pool._child.under_way == 1)
        problems = await asyncio.gather(*(setting.server.adapters.load(f"planning@r{n}-c", f"/store/c{n}") for n in range(3)))
        assert problems == ["", "", ""] and setting.pid != before and not slow.done() and running(before)
        hold.unlink()
        assert await setting.ids("planning@r0-c") == [27, 44], "the character 0 stands for 16"
        assert await setting.ids("generation@r1-a") == [12, 14]
        assert (await slow)["choices"][0]["text"].endswith("<130>")
        await until(lambda: not running(before))

    with_server(use)


def test_what_cannot_be_loaded_is_named_and_the_rest_goes_on(with_server: Callable[..., None]) -> None:
    async def use(setting: Setting) -> None:
        adapters = setting.server.adapters
        wanted = {"generation@r1-a": "/store/a", "review@r1-b": "/store/b"}
        await adapters.follow(wanted | {"planning@r1-s": "/store/strange"})
        assert adapters.problems == {"planning@r1-s": "/store/strange is of another base"}
        assert "failed to open GGUF file" in await adapters.load("planning@r1-l", "/store/lost")
        assert "names are immutable" in await adapters.load("review@r1-b", "/store/other")
        assert await setting.ids("review@r1-b") == [13, 16] and not setting.server.engine.errored

    with_server(use)


def test_versions_used_last_are_kept_and_those_that_are_wanted_always(with_server: Callable[..., None]) -> None:
    async def use(setting: Setting) -> None:
        adapters = setting.server.adapters
        for number in range(4):
            assert not await adapters.load(f"planning@r{number}-c", f"/store/c{number}")
            assert not await adapters.load("planning@r0-c", "/store/c0")
            await setting.ids("planning@r0-c")
        served = [name for name in ("generation@r1-a", *(f"planning@r{n}-c" for n in range(4))) if adapters.serves(name, path_of(name))]
        assert served == ["generation@r1-a", "planning@r0-c", "planning@r3-c"]

    with_server(use, {"generation@r1-a": "/store/a"}, max_adapters=3)


def path_of(name: str) -> str:
    return "/store/a" if name.endswith("-a") else f"/store/c{name.partition('@r')[2][0]}"


def test_a_server_that_dies_is_found_dead_and_one_that_is_stopped_is_not(with_server: Callable[..., None]) -> None:
    async def use(setting: Setting) -> None:
        os.kill(setting.pid, signal.SIGKILL)
        answer = await setting.client.post("/forge/sample", json={"model": "main", "prompts": [[1]], "max_tokens": 1})
        assert answer.status_code == 503
        await until(lambda: setting.server.engine.errored)
        assert (await setting.client.get("/health")).status_code == 503
        await setting.server.pool.stop()
        assert not setting.server.engine.errored
        assert (await setting.client.get("/metrics")).status_code == 503
        await setting.server.adapters.follow({})
        assert await setting.ids("main") == [11, 12]
        assert "llamacpp" in (await setting.client.get("/metrics")).text

    with_server(use)


def test_a_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    fake.program(tmp_path)
    code = (
        "import asyncio, sys, os, time; from pathlib import Path; from serve.llama import child\n"
        "folder = Path(sys.argv[1]); (folder / 'x.gguf').touch()\n"
        "argv = lambda socket: [str(folder / 'llama-server'), '--model', 'x.gguf', '--host', socket]\n"
        "async def main():\n"
        "    found = await child.start(argv, folder, (), places=1, environment=dict(os.environ), within_s=60)\n"
        "    print(found.process.pid, flush=True); os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -9, done.stderr
    pid = int(done.stdout)
    deadline = time.monotonic() + 20
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(pid)


async def until(holds: Callable[[], bool]) -> None:
    """Return when something is so, which nothing here tells of."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter where it ends between opening and reading
        return False


def test_bad_requests_are_the_callers_fault(with_server: Callable[..., None]) -> None:
    async def use(setting: Setting) -> None:
        for path, body in (
            ("/forge/sample", {"model": "main"}),
            ("/forge/sample", {"model": "main", "prompts": [[1, 99999]], "max_tokens": 1}),
            ("/forge/sample", {"model": "main", "prompts": [[1]], "max_tokens": 1, "choices": [4000]}),
            ("/forge/sample", {"model": "main", "prompts": [[]], "max_tokens": 1}),
            ("/v1/completions", {"model": "main", "prompt": ""}),
            ("/v1/chat/completions", {"model": "main", "messages": []}),
            ("/v1/chat/completions", {"model": "main", "messages": [{"role": "user", "content": "x" * 5000}]}),
            ("/tokenize", {"model": "main"}),
            ("/detokenize", {"tokens": [5000]}),
        ):
            answer = await setting.client.post(path, json=body)
            assert answer.status_code == 400 and answer.json()["error"]["message"], (path, body, answer.text)

    with_server(use)


def test_texts_become_the_bases_own_tokens_and_back(with_server: Callable[..., None]) -> None:
    async def use(setting: Setting) -> None:
        ids = list(BaseTokenizer(nano.WEIGHTS).encode("def add(a, b):"))
        told = await setting.post("/tokenize", prompt="def add(a, b):", return_token_strs=True)
        assert (told["tokens"], told["count"], told["max_model_len"], len(told["token_strs"])) == (ids, len(ids), 1024, len(ids))
        assert await setting.post("/detokenize", tokens=ids) == {"prompt": "def add(a, b):"}

    with_server(use)


def test_turns_go_round_and_nobody_waits_for_ever() -> None:
    async def whole() -> list[str]:
        turns, order = Turns(2), list[str]()

        async def work(name: str) -> None:
            async with turns.turn(name):
                order.append(name)
                await asyncio.sleep(0)

        async def stream(name: str) -> None:
            for _ in range(6):
                await work(name)

        await asyncio.gather(*(stream(name) for name in ("a", "a", "a", "b")))
        return order

    order = asyncio.run(whole())
    assert order.count("a") == 18 and order.count("b") == 6
    assert order.index("b") <= 4, "one stream of requests keeps no other out"


def test_one_who_stops_waiting_leaves_the_turn_to_others() -> None:
    async def whole() -> None:
        turns = Turns(1)
        async with turns.turn("a"):
            waiting = [asyncio.create_task(entered(turns, "b")), asyncio.create_task(entered(turns, "a"))]
            await asyncio.sleep(0)
            waiting[0].cancel()
            await asyncio.sleep(0)
        await asyncio.wait_for(waiting[1], 5)
        await asyncio.wait_for(entered(turns, "c"), 5)
        assert waiting[0].cancelled() and not waiting[1].cancelled()

    asyncio.run(whole())


async def entered(turns: Turns, name: str) -> None:
    async with turns.turn(name):
        pass


def test_an_engine_that_is_not_there_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # There is no seam for what is installed: the only way to be on a machine without an engine is to look as if.
    monkeypatch.setattr(pick, "VLLM", "no_such_package")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        EnvironmentLackError, match=r"vllm is not installed, and there is no llama-server here; put llama.cpp's llama-server"
    ):
        pick.pick(ServeConfig())
    with pytest.raises(EnvironmentLackError, match=r"serve.engine is llama, but there is no llama-server here"):
        pick.pick(ServeConfig(engine="llama"))
    with pytest.raises(EnvironmentLackError, match=r"or set serve.engine=llama"):
        pick.pick(ServeConfig(engine="vllm"))
    fake.program(tmp_path)
    assert pick.pick(ServeConfig()) == "llama"
