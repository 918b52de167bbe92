"""The agent's HTTP app with an agent that is made for it: questions, events, files, archives; no Ray, no model."""

import asyncio
import base64
import io
import json
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.config import ServeConfig
from forge.errors import ConfigError, EndpointError
from forge.store.keys import KeyFile
from serve import checkouts
from serve.gate import Gate
from serve.questions import Questions
from serve.solve_app import SolveApp
from serve.solves import Solves


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


class Told:
    """An agent that says what it sees; a statement of one word does something else."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.asked: list[dict[str, Any]] = []

    async def solve(self, folder: Path, question: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        self.asked.append(question)
        files = files_in(folder)
        tell({"kind": "stage", "stage": "analysis", "text": " ".join(files)})
        await self.go.wait()
        if question["statement"] == "fail":
            raise EndpointError("the model is away")
        if question["statement"] == "surprise":
            raise KeyError("x")
        return {"status": "answered", "patch": "--- a/x\n+++ b/x\n", "score": 0.9, "reason": "", "tokens": 7}

    async def close(self) -> None:
        return


def archive(files: dict[str, bytes]) -> str:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return base64.b64encode(into.getvalue()).decode()


ARCHIVE = archive({"a.py": b"x = 1\n", "pkg/b.py": b"y = 2\n"})


class Setting:
    def __init__(self, folder: Path, **config: Any) -> None:
        self.config = ServeConfig(**config)
        self.agent, self.solves, self.gate = Told(), Solves(folder), Gate()
        self.questions = Questions(self.agent, self.solves, self.config)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(SolveApp(self.questions, self.gate, self.config)), base_url="http://solve", timeout=20
        )


def run(folder: Path, use: Callable[[Setting], Awaitable[None]], **config: Any) -> None:
    async def whole() -> None:
        setting = Setting(folder, **config)
        async with setting.client:
            await use(setting)
        await setting.questions.close()

    asyncio.run(whole())


def events_of(answer: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    blocks = [block for block in answer.text.split("\n\n") if "data: " in block]
    return [(b.split("event: ")[1].split("\n")[0], json.loads(b.split("data: ")[1])) for b in blocks]


def test_a_question_streams_what_happens_and_ends_in_a_patch(tmp_path: Path) -> None:
    async def use(setting: Setting) -> None:
        answer = await setting.client.post("/", json={"issue": "it is wrong", "archive": ARCHIVE, "samples": 3})
        assert answer.headers["content-type"].startswith("text/event-stream")
        (first, begun), (second, step), (last, result) = events_of(answer)
        assert (first, second, last) == ("accepted", "progress", "done")
        assert step["text"] == "a.py pkg/b.py" and step["n"] == 1
        assert (result["id"], result["patch"], result["score"]) == (begun["id"], "--- a/x\n+++ b/x\n", 0.9)
        assert setting.agent.asked[0]["samples"] == 3 and "archive" not in setting.agent.asked[0]
        again = await setting.client.get(f"/{begun['id']}/events", headers={"last-event-id": "1"})
        assert [kind for kind, _ in events_of(again)] == ["accepted", "done"]
        assert (await setting.client.get(f"/{begun['id']}")).json()["status"] == "answered"
        assert not setting.solves.tree(begun["id"]).exists(), "the work tree goes with the end"

    run(tmp_path, use)


def test_without_a_stream_the_result_comes_whole(tmp_path: Path) -> None:
    async def use(setting: Setting) -> None:
        for issue, status in (("wrong", "answered"), ("fail", "failed"), ("surprise", "failed")):
            answer = await setting.client.post("/", json={"issue": issue, "archive": ARCHIVE, "stream": False})
            assert (answer.status_code, answer.json()["status"]) == (200, status)

    run(tmp_path, use)


def test_the_same_idempotency_key_is_the_same_question(tmp_path: Path) -> None:
    async def use(setting: Setting) -> None:
        call = {"issue": "wrong", "archive": ARCHIVE, "stream": False}
        header = {"idempotency-key": "once"}
        answers = await asyncio.gather(*(setting.client.post("/", json=call, headers=header) for _ in range(4)))
        assert len({answer.json()["id"] for answer in answers}) == 1 == len(setting.agent.asked)
        other = await setting.client.post("/", json=call, headers={"idempotency-key": "twice"})
        assert other.json()["id"] != answers[0].json()["id"]

    run(tmp_path, use)


def test_a_question_can_be_stopped_and_a_listener_who_leaves_does_not_stop_it(tmp_path: Path) -> None:
    async def use(setting: Setting) -> None:
        setting.agent.go.clear()
        listening = asyncio.create_task(setting.client.post("/", json={"issue": "wrong", "archive": ARCHIVE}))
        while not setting.agent.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        (name,) = setting.solves.unfinished()
        listening.cancel()
        assert (await setting.client.get(f"/{name}")).json()["status"] == "working"
        assert (await setting.client.delete(f"/{name}")).json()["status"] == "cancelling"
        assert (await setting.questions.result(name))["status"] == "cancelled"
        assert (await setting.client.delete(f"/{name}")).json()["status"] == "ended"

    run(tmp_path, use)


def test_a_new_process_takes_up_what_the_one_before_left(tmp_path: Path) -> None:
    async def first(setting: Setting) -> None:
        setting.agent.go.clear()
        task = asyncio.create_task(setting.client.post("/", json={"issue": "wrong", "archive": ARCHIVE}))
        while not setting.agent.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        task.cancel()

    async def second(setting: Setting) -> None:
        assert setting.questions.take_up() == 1
        (name,) = setting.solves.unfinished()
        assert (await setting.questions.result(name))["status"] == "answered"
        told = [event["text"] for event in setting.solves.events(name)]
        assert told == ["a.py pkg/b.py", "taken up again: the replica that worked on it has gone", "a.py pkg/b.py"]

    run(tmp_path, first)
    run(tmp_path, second)


def test_the_agent_is_a_chat_model(tmp_path: Path) -> None:
    async def use(setting: Setting) -> None:
        messages = [
            {"role": "system", "content": "x"},
            {"role": "user", "content": [{"type": "text", "text": "repository: /r/one\nit is wrong"}]},
        ]
        body = {"model": "forge-agent", "messages": messages}
        answer = (await setting.client.post("/v1/chat/completions", json=body)).json()
        assert "```diff\n--- a/x\n+++ b/x\n```" in answer["choices"][0]["message"]["content"]
        assert setting.agent.asked[0]["statement"] == "it is wrong"
        streamed = await setting.client.post("/v1/chat/completions", json={**body, "stream": True})
        lines = [line.removeprefix("data: ") for line in streamed.text.splitlines() if line.startswith("data: ")]
        assert lines[-1] == "[DONE]"
        text = "".join(json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines[:-1])
        assert text.startswith("analysis: one.py\n") and "```diff" in text

    (tmp_path / "r" / "one").mkdir(parents=True)
    (tmp_path / "r" / "one" / "one.py").write_text("")
    checkouts_allowed = f"{tmp_path}/r/"

    async def here(setting: Setting) -> None:
        real = setting.client.post

        async def post(path: str, **what: Any) -> httpx.Response:
            text = json.dumps(what["json"]).replace("/r/one", f"{tmp_path}/r/one")
            return await real(path, json=json.loads(text))

        setting.client.post = post  # type: ignore[method-assign]  the address of a folder is known here only
        await use(setting)

    run(tmp_path / "solves", here, repositories=[checkouts_allowed])


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ({"issue": "x"}, "give either repository or archive"),
        ({"issue": "x", "archive": "QQ==", "repository": "/x"}, "give either repository or archive"),
        ({"issue": "x", "archive": "???"}, "no base64"),
        ({"issue": "x", "archive": "QQ=="}, "cannot be read"),
        ({"issue": "x", "repository": "/etc"}, "not among serve.repositories"),
        ({"issue": "x", "repository": "/allowed/../etc"}, "not among serve.repositories"),
        ({"issue": "x", "repository": "file:///etc"}, "not among serve.repositories"),
        ({"issue": "x", "repository": "/a\x00b"}, "not among serve.repositories"),
        ({"issue": "", "archive": ARCHIVE}, "issue"),
        ({"issue": "x", "archive": ARCHIVE, "samples": 99}, "samples"),
        ({"issue": "x", "archive": ARCHIVE, "seconds": 1e9}, "at most 600 s"),
        ({"issue": "x", "archive": ARCHIVE, "more": 1}, "more"),
        ([], "body"),
    ],
)
def test_a_wrong_question_is_refused_in_a_sentence(tmp_path: Path, call: Any, reason: str) -> None:
    async def use(setting: Setting) -> None:
        answer = await setting.client.post("/", json=call)
        assert answer.status_code == 400, answer.text
        assert reason in answer.json()["error"]["message"]
        assert not setting.agent.asked and not list(setting.solves.root.glob("*"))

    run(tmp_path / "solves", use, repositories=["/allowed/"])


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 50_000, b'{"issue": "\\ud800", "archive": "QQ=="}'])
def test_garbage_is_a_400(tmp_path: Path, body: bytes) -> None:
    async def use(setting: Setting) -> None:
        for path in ("/", "/v1/chat/completions"):
            answer = await setting.client.post(path, content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 400, (path, answer.text)
        assert (await setting.client.get("/../../etc/passwd")).status_code in (404, 405)
        assert (await setting.client.get("/nothing")).status_code == 404

    run(tmp_path, use)


def test_too_long_a_request_and_too_many_questions_are_refused(tmp_path: Path) -> None:
    async def use(setting: Setting) -> None:
        long = await setting.client.post("/", json={"issue": "x", "archive": "A" * (2 * 2**20)})
        assert long.status_code == 413, long.text
        setting.agent.go.clear()
        asked = [asyncio.create_task(setting.client.post("/", json={"issue": "x", "archive": ARCHIVE})) for _ in range(9)]
        while len(list(setting.solves.unfinished())) < 9:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        full = await setting.client.post("/", json={"issue": "x", "archive": ARCHIVE})
        assert (full.status_code, full.headers["retry-after"]) == (503, "30")
        setting.agent.go.set()
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}

    run(tmp_path, use, max_archive_bytes=2**20, solves=1)


def test_the_agent_asks_for_a_key_that_may_solve(tmp_path: Path) -> None:
    async def use(setting: Setting) -> None:
        file = KeyFile(tmp_path / "keys.json")
        infer, solve = file.add("a", ["infer"]), file.add("b", ["solve"])
        setting.gate.keys = file.read()
        for key, status in (("", 401), (infer, 403), (solve, 404)):
            assert (await setting.client.get("/nothing", headers={"x-api-key": key})).status_code == status

    run(tmp_path / "solves", use)


# Archives


def tar_of(*members: tarfile.TarInfo) -> bytes:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return into.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 1, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size if kind == tarfile.REGTYPE else 0, link
    return info


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a/b/../../../x"])
def test_an_archive_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    into = tmp_path / "in" / "to"
    into.mkdir(parents=True)
    with pytest.raises(ConfigError, match="leaves it"):
        checkouts.unpack(tar_of(member("ok.py"), member(name)), into)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["ok.py"]


def test_links_and_devices_are_left_out(tmp_path: Path) -> None:
    odd = [member("l", tarfile.SYMTYPE, link="/etc/passwd"), member("h", tarfile.LNKTYPE, link="ok.py"), member("d", tarfile.CHRTYPE)]
    checkouts.unpack(tar_of(member("ok.py"), *odd, member("f", tarfile.FIFOTYPE), member("l2/x.py")), tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if not path.is_dir()) == ["l2/x.py", "ok.py"]


def test_a_bomb_is_refused_before_it_fills_anything(tmp_path: Path) -> None:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w:gz") as tar:
        for number in range(100):
            info = member(f"{number}.py", size=4 * 2**20)
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    assert len(into.getvalue()) < 2**20
    with pytest.raises(ConfigError, match="more than"):
        checkouts.unpack(into.getvalue(), tmp_path)
    with pytest.raises(ConfigError, match="more than"):
        checkouts.unpack(tar_of(*(member(f"{n}", size=0) for n in range(20_001))), tmp_path)


@given(st.binary(max_size=2000))
def test_any_bytes_are_an_archive_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    into = tmp_path_factory.mktemp("into")
    for archive_bytes in (raw, tar_of(member("a.py"))[: len(raw)] + raw):
        try:
            checkouts.unpack(archive_bytes, into)
        except ConfigError:
            continue


def test_an_environment_is_built_only_where_the_configuration_allows_it(tmp_path: Path) -> None:
    async def ask(setting: Setting) -> None:
        answer = await setting.client.post("/", json={"issue": "x", "archive": ARCHIVE, "environment": "auto", "stream": False})
        if setting.config.environments:
            assert answer.status_code == 200 and setting.agent.asked[0]["environment"] == "auto"
        else:
            assert answer.status_code == 400 and "serve.environments=true" in answer.text and not setting.agent.asked

    run(tmp_path / "closed", ask)
    run(tmp_path / "open", ask, environments=True)


def test_a_chat_asks_for_an_environment_as_a_question_does(tmp_path: Path) -> None:
    async def ask(setting: Setting) -> None:
        async def say(text: str, **fields: str) -> httpx.Response:
            body = {"messages": [{"role": "user", "content": text}], "archive": ARCHIVE, **fields}
            return await setting.client.post("/v1/chat/completions", json=body)

        if not setting.config.environments:
            refused = await say("Environment: auto\nit is wrong")
            assert refused.status_code == 400 and "serve.environments=true" in refused.text and not setting.agent.asked
            return
        answers = [await say("Environment: auto\nit is wrong"), await say("it is wrong", environment="auto"), await say("it is wrong")]
        assert {answer.status_code for answer in answers} == {200}
        assert [asked["environment"] for asked in setting.agent.asked] == ["auto", "auto", "none"]
        assert {asked["statement"] for asked in setting.agent.asked} == {"it is wrong"}
        assert (await say("x", environment="mine")).status_code == 400

    run(tmp_path / "closed", ask)
    run(tmp_path / "open", ask, environments=True)


def test_an_issue_that_names_its_environment_keeps_that_line(tmp_path: Path) -> None:
    issue = "Environment: Python 3.11 on Linux\nrepository: none of yours\nit is wrong"

    async def ask(setting: Setting) -> None:
        body = {"messages": [{"role": "user", "content": issue}], "archive": ARCHIVE}
        assert (await setting.client.post("/v1/chat/completions", json=body)).status_code == 200
        assert setting.agent.asked[0]["statement"] == issue

    run(tmp_path, ask)
