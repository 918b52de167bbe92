"""`forge solve` and `forge mcp` against the agent's app with an agent made for it, over real HTTP."""

import asyncio
import subprocess
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from mcp import Client
from rich.console import Console

from forge.config import AgentConfig, SandboxConfig, ServeConfig
from forge.errors import ConfigError, EndpointError, HistoryError
from forge.rollouts.solve import Question, Solver
from jobs.solving import solve
from jobs.solving.mcp_server import server_of
from serve.answers import Receive, Scope, Send
from serve.gate import Gate
from serve.questions import Questions
from serve.solve_app import SolveApp
from serve.solves import Solves

PATCH = """diff --git a/calc.py b/calc.py
--- a/calc.py
+++ b/calc.py
@@ -1,2 +1,2 @@
 def add(a, b):
-    return a - b
+    return a + b
"""
OLD, NEW = "def add(a, b):\n    return a - b\n", "def add(a, b):\n    return a + b\n"


class Repairs:
    """An agent that repairs `calc.py`, and one that gives up on `hopeless`."""

    async def solve(self, folder: Path, question: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        assert (folder / folder.name).exists() is False and (folder / "calc.py").read_text() == OLD
        tell({"kind": "note", "text": "1 function in 1 file of python", "sample": 0})
        tell({"kind": "stage", "stage": "analysis", "text": "calc.py::add", "sample": 0, "seconds": 0.5})
        if question["statement"] == "hopeless":
            return {"status": "unanswered", "patch": "", "reason": "the plan has no 'edit' step"}
        patch = PATCH
        tested = {"exit_code": 1, "stdout": "1 failed", "stderr": ""} if question["test"] else None
        if question["test"] == "sleep 99":
            tested = {"exit_code": 137, "stdout": "", "stderr": "", "breach": "time"}
        return {"status": "answered", "patch": patch, "score": 0.75, "answers": [{}, {}], "tested": tested, "tokens": 12, "seconds": 1.0}

    async def close(self) -> None:
        return


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    config = ServeConfig()
    made: dict[str, SolveApp] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if "app" not in made:  # on the loop that serves
            made["app"] = SolveApp(Questions(Repairs(), Solves(tmp_path / "solves"), config), Gate(), config)
        await made["app"]({**scope, "root_path": "/v1/solve"}, receive, send)

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "calc.py").write_text(OLD)
    (folder / ".gitignore").write_text("secret\n")
    (folder / "secret").write_text("x")
    (folder / "link").symlink_to("/etc/passwd")
    subprocess.run("git init -q . && git add calc.py", shell=True, cwd=folder, check=True)
    return folder


def question(**changes: Any) -> dict[str, Any]:
    return {"issue": "add subtracts", "samples": 1, "seconds": 60.0, "test": "", **changes}


def test_stages_are_shown_then_the_diff_and_the_patch_is_applied_when_asked(url: str, repo: Path) -> None:
    console = Console(record=True, width=100)
    assert solve.solve(solve.remote(url, ""), repo, question(test="pytest -q"), console, apply=False) == 0
    told = console.export_text()
    assert "analysis    calc.py::add   0.5 s" in told
    assert "+    return a + b" in told and "review 75%, best of 2 different answers; 1.0 s, 12 tokens" in told
    assert "pytest -q: exit code 1" in told and "1 failed" in told
    assert (repo / "calc.py").read_text() == OLD
    assert solve.solve(solve.remote(url, ""), repo, question(test="sleep 99"), console, apply=False) == 0
    assert "sleep 99: stopped at its limit (time)" in console.export_text()
    assert solve.solve(solve.remote(url, ""), repo, question(), Console(record=True, width=100), apply=True) == 0
    assert (repo / "calc.py").read_text() == NEW


def test_of_many_answers_each_line_says_whose_it_is_and_notes_are_nobody_s(url: str, repo: Path) -> None:
    console = Console(record=True, width=100)
    assert solve.solve(solve.remote(url, ""), repo, question(samples=2), console, apply=False) == 0
    assert console.export_text().splitlines()[:2] == [
        "     note        1 function in 1 file of python",
        "  #1 analysis    calc.py::add   0.5 s",
    ]


def test_no_patch_is_exit_code_1_with_the_reason(url: str, repo: Path) -> None:
    console = Console(record=True, width=100)
    assert solve.solve(solve.remote(url, ""), repo, question(issue="hopeless"), console, apply=True) == 1
    assert "no patch: the plan has no 'edit' step" in console.export_text()
    assert (repo / "calc.py").read_text() == OLD


def test_what_git_ignores_and_links_stay_here(repo: Path, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    tree = solve.snapshot(repo, into)
    assert sorted(path.name for path in tree.iterdir()) == [".gitignore", "calc.py"]
    with pytest.raises(HistoryError, match="is no git repository"):
        solve.snapshot(tmp_path, into)


def test_an_agent_that_is_not_there_is_a_sentence(repo: Path) -> None:
    with pytest.raises(EndpointError, match=r"no agent answers at http://127.0.0.1:9: .* start one with forge serve CONFIG"):
        solve.solve(solve.remote("http://127.0.0.1:9", ""), repo, question(), Console(), apply=False)


def test_a_refusal_is_shown_in_the_endpoint_s_words(url: str, repo: Path) -> None:
    with pytest.raises(EndpointError, match="a question has at most 600 s here"):
        solve.solve(solve.remote(url, ""), repo, question(seconds=1e6), Console(), apply=False)


def test_a_patch_that_does_not_fit_any_more_changes_nothing(repo: Path) -> None:
    with pytest.raises(HistoryError, match="does not fit"):
        solve.put(repo, "--- a/calc.py\n+++ b/calc.py\n@@ -1,1 +1,1 @@\n-nothing like it\n+x\n")
    assert (repo / "calc.py").read_text() == OLD


def test_mcp_clients_have_the_agent_as_a_tool(url: str, repo: Path) -> None:
    async def use() -> None:
        async with Client(server_of(solve.remote(url, ""))) as client:
            (tool,) = (await client.list_tools()).tools
            assert tool.name == "solve" and "unified diff" in (tool.description or "")
            assert {"repository", "issue"} <= set(tool.input_schema["required"]) and "context" not in tool.input_schema["properties"]
            answer = await client.call_tool("solve", {"repository": str(repo), "issue": "add subtracts", "apply": True})
            assert "+    return a + b" in answer.content[0].text and "review: 75%" in answer.content[0].text  # type: ignore[union-attr]
            closed = await client.call_tool("solve", {"repository": str(repo), "issue": "add subtracts", "environment": "auto"})
            assert "no patch" in closed.content[0].text and "serve.environments=true" in closed.content[0].text  # type: ignore[union-attr]
            nothing = await client.call_tool("solve", {"repository": str(repo.parent), "issue": "x"})
            assert "no patch" in nothing.content[0].text  # type: ignore[union-attr]

    asyncio.run(use())
    assert (repo / "calc.py").read_text() == NEW


def test_an_empty_generator_is_an_error_and_no_hang() -> None:
    async def nothing(_: Path, __: Any) -> AsyncGenerator[dict[str, Any], None]:
        return
        yield {}

    with pytest.raises(Exception, match="without a result"):
        solve.solve(nothing, Path(), question(), Console(), apply=False)


def test_a_test_command_that_is_none_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    solver = Solver(
        model=None,
        tokenizers={},
        models=None,
        provider=None,
        agent=AgentConfig(),
        sandbox=SandboxConfig(),
        max_answer_tokens={},
        run_id="x",
    )  # type: ignore[arg-type]  nothing of it is reached
    with pytest.raises(ConfigError, match="cannot be split into words"):
        asyncio.run(solver.solve(tmp_path, Question(statement="x", test="pytest 'a"), lambda _: None))
