"""The agent behind real Serve and vLLM: asked over HTTP and as a chat model, and taken up again when its replica is killed."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from ray import serve

from jobs.solving.solver import SolverFactory
from jobs.wiring import ProviderFactory
from sandboxes.pick import pick
from serve import app
from tests.vllm.conftest import Served

SOURCE = "def add(a, b):\n    return a - b\n\n\ndef twice(value):\n    return 2 * value\n"


@pytest.fixture(scope="module")
def agent(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config = served.config.model_copy(update={"serve": served.config.serve.model_copy(update={"repositories": [f"{served.folder}/"]})})
    kind = pick("auto").name
    make = SolverFactory(config=config, provider=ProviderFactory(kind=kind), urls={"main": served.url}, bases={"main": str(served.base)})
    app.deploy(served.config, served.bases, {"main": served.adapters}, agent=True)
    yield app.deploy_agent(config, make, tmp_path_factory.mktemp("solves"))
    serve.delete(app.AGENT)
    served.set_adapters(served.adapters)


def ask(url: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={"content-type": "application/json", **(headers or {})})
    return json.loads(urllib.request.urlopen(request, timeout=120).read())


def archive() -> str:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w:gz") as tar:
        info = tarfile.TarInfo("./calc.py")
        info.size = len(SOURCE)
        tar.addfile(info, io.BytesIO(SOURCE.encode()))
    return base64.b64encode(into.getvalue()).decode()


def events(url: str) -> list[dict[str, Any]]:
    text = urllib.request.urlopen(url, timeout=120).read().decode()
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


def test_a_question_goes_through_the_stages_and_ends(agent: str) -> None:
    result = ask(agent, "POST", {"issue": "add(1, 2) must be 3", "archive": archive(), "samples": 2, "stream": False})
    # The base is of random weights: what it answers is nonsense, which must end as such and not as an error.
    assert result["status"] in ("answered", "unanswered"), result
    told = events(f"{agent}/{result['id']}/events")
    stages = [event["stage"] for event in told if event.get("kind") == "stage"]
    assert stages[0] == "analysis" and "relevance" in stages and "planning" in stages
    assert {event["sample"] for event in told if event.get("kind") == "stage"} == {0, 1}
    assert told[-1]["kind"] == "done" and told[-1]["tokens"] > 0


def test_the_agent_is_among_the_models_and_answers_chats(agent: str, served: Served) -> None:
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)
    assert "forge-agent" in {card.id for card in client.models.list().data}
    folder = served.folder / "repository"
    folder.mkdir()
    (folder / "calc.py").write_text(SOURCE)
    messages: Any = [{"role": "user", "content": f"repository: {folder}\nadd(1, 2) must be 3"}]
    text = client.chat.completions.create(model="forge-agent", messages=messages).choices[0].message.content or ""
    assert "```diff" in text or text.startswith("No patch:")
    pieces = client.chat.completions.create(model="forge-agent", messages=messages, stream=True)
    streamed = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert streamed.startswith("note: 2 functions in 1 file of python\nanalysis:")


def test_a_killed_replica_is_followed_by_one_that_takes_the_question_up(agent: str) -> None:
    handle = serve.get_app_handle(app.AGENT)
    before = handle.pid.remote().result(timeout_s=60)
    call = {"issue": "twice(2) must be 5", "archive": archive(), "samples": 16, "temperature": 1.5}
    request = urllib.request.Request(
        agent, data=json.dumps(call).encode(), method="POST", headers={"content-type": "application/json", "idempotency-key": "k"}
    )
    streaming = urllib.request.urlopen(request, timeout=120)
    name = streaming.headers["x-solve-id"]
    while b"progress" not in streaming.readline():
        pass
    os.kill(before, signal.SIGKILL)
    deadline = time.monotonic() + 120
    while True:
        try:
            again = ask(agent, "POST", {**call, "stream": False}, {"idempotency-key": "k"})
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.5)
    assert again["id"] == name and again["status"] in ("answered", "unanswered")
    assert handle.pid.remote().result(timeout_s=60) != before
    told = events(f"{agent}/{name}/events")
    assert sum(event.get("text", "").startswith("taken up again") for event in told) <= 1
    assert [event["kind"] for event in told if "kind" in event].count("done") == 1


def test_a_repository_that_is_not_listed_is_refused(agent: str, tmp_path: Path) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(agent, "POST", {"issue": "x", "repository": str(tmp_path), "stream": False})
    assert refused.value.code == 400 and "serve.repositories" in json.loads(refused.value.read())["error"]["message"]
