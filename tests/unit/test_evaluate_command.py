"""`forge evaluate` without a Ray: what a person gets wrong is one sentence before anything starts; what is shown at the end."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from forge.config import load
from forge.errors import ConfigError, EnvironmentLackError
from forge.evals.intervals import wilson
from forge.evals.suites.scores import Measure, SuiteResult
from forge.fakes.sandbox import FakeProvider
from forge.records import Outcome, Trajectory, Turn
from jobs import cli
from jobs.evaluate import fit
from jobs.evaluation import tables
from jobs.evaluation.heldout import sample_of
from jobs.evaluation.served import Served, served
from sandboxes.pick import Choice
from tests import suite_rows


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str]:
    code = cli.main(["evaluate", *map(str, argv)])
    return code, capsys.readouterr().err


def test_help_names_every_suite(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert all(name in shown for name in ("heldout", "swebench", *suite_rows.ROWS))


def test_what_is_wrong_on_the_command_line_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mbpp = tmp_path / "mbpp.jsonl"
    mbpp.write_text(json.dumps(suite_rows.mbpp()) + "\n")
    for argv, said in (
        ([], "no suite is named"),
        (["--suite", "humanevl"], "there is no suite humanevl; there are heldout, swebench, humaneval"),
        (["--suite", "mbpp", "--data", tmp_path / "none.jsonl"], "there is no"),
        (["--suite", "humaneval", "--data", mbpp], "is no problem of humaneval: "),
        (["--suite", "humaneval", "--suite", "mbpp", "--data", mbpp], "holds nothing named humaneval"),
        (["--suite", "mbpp", "--data", mbpp, "--n", "3"], "3 samples at temperature 0 are one and the same"),
        (["--suite", "crosscodeeval"], "give --data PATH"),
        (
            ["--suite", "mbpp", "--data", mbpp, "--url", "http://127.0.0.1:9", "evaluation.retries=0"],
            "main at http://127.0.0.1:9/v1 gave no answer",
        ),
    ):
        code, shown = run(capsys, *argv, "--out", tmp_path / "out")
        assert (code, shown.count("\n")) == (2, 1) and said in shown, shown


def test_a_sandbox_for_trusted_code_takes_held_out_tasks_only() -> None:
    weak = Choice(name="confined", why="namespaces are not allowed", trusted_only=True, make=FakeProvider)
    assert fit(load([], ["evaluation.suites=[heldout]"]), weak) is weak
    with pytest.raises(EnvironmentLackError, match="mbpp runs code that a model wrote, and namespaces are not allowed"):
        fit(load([], ["evaluation.suites=[heldout, mbpp]"]), weak)


@contextmanager
def names(meanings: dict[str, str]) -> Iterator[str]:
    """An endpoint that says what its names mean."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/v1/models"
            raw = json.dumps({"data": [{"id": name, "root": root} for name, root in meanings.items()]}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def stage_models(url: str, **evaluation: str) -> dict[str, str]:
    config = load([], [f"evaluation.{key}={value}" for key, value in evaluation.items()])
    return asyncio.run(Served(config, {"main": url}, "").stage_models())


def test_the_agent_is_what_is_promoted_one_base_or_one_version_beside_what_is_promoted() -> None:
    with names({"main": "main", "review": "review@r2-aa", "generation": "generation@r2-bb"}) as url:
        promoted = {"analysis": "main", "relevance": "main", "planning": "main", "generation": "generation@r2-bb", "review": "review@r2-aa"}
        assert stage_models(url) == promoted
        assert stage_models(url, model="generation") == promoted
        assert stage_models(url, model="main") == dict.fromkeys(promoted, "main")
        assert stage_models(url, model="generation@r1-cc") == promoted | {"generation": "generation@r1-cc"}
        with pytest.raises(ConfigError, match="the agent cannot be made of gpt"):
            stage_models(url, model="gpt")


def test_an_endpoint_is_asked_at_its_own_address_whatever_follows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER", "secret")
    words = ["stages.review.base=small", "bases.main.model=nano", "bases.small.model=nano"]
    with served(load([], words), None, "http://host:1/v1/", "OTHER") as endpoint:  # type: ignore[arg-type]
        assert (endpoint.urls, endpoint.key) == ({"main": "http://host:1", "small": "http://host:1/small"}, "secret")
        assert endpoint.chat_url("review@r1-aa") == endpoint.chat_url("small") == "http://host:1/small"
        assert endpoint.chat_url("generation") == endpoint.chat_url("anything") == "http://host:1"


def trajectory(**changes: Any) -> Trajectory:
    turn = Turn(stage="review", model_id="m", messages=(), text="", prompt_ids=(1, 2), completion_ids=(3,), logprobs=(0.0,))
    fields = {"id": "i", "task_id": "t", "repo": "r", "round": 0, "step": "heldout", "sample": 1, "seed": 0, "temperature": 0.0}
    return Trajectory.model_validate({**fields, "turns": (turn, turn), "patch": "diff", "outcome": Outcome.SOLVED, **changes})


def test_a_rollout_is_a_sample_with_its_patch_and_an_agents_error_is_a_failure() -> None:
    solved = sample_of("k", trajectory())
    assert solved.score and solved.score.passed and (solved.answer, solved.sample, solved.completion_tokens) == ("diff", 1, 2)
    lost = sample_of("k", trajectory(outcome=Outcome.AGENT_ERROR, patch="", reason="no plan"))
    assert lost.score and not lost.score.passed and lost.score.reason == "agent_error: no plan"


def test_the_table_says_what_is_in_no_measure() -> None:
    measure = Measure(value=0.5, ci95=wilson(1, 2), problems=2)
    result = SuiteResult(
        suite="mbpp",
        model="m",
        problems=4,
        samples=2,
        measures={"pass@1": measure},
        masked={"away": 2},
        unproven={"no numpy": 3},
        cut=1,
        notes=("a note",),
    )
    console = Console(width=140)
    with console.capture() as shown:
        console.print(tables.results([result, result.model_copy(update={"suite": "swebench", "measures": {}})]))
    text = " ".join(shown.get().split())
    assert "swebench nothing scored 0 0" in text
    assert "mbpp pass@1 50.0% 9.5% to 90.5% 2 2" in text
    assert "left out: no numpy 3" in text and "masked: away 2" in text and "ran into the limit of tokens 1" in text and "a note" in text
