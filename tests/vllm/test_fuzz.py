"""Schemathesis over what the endpoint and the agent say of themselves: whatever is sent, no answer is a server error."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from jobs.solving.solver import SolverFactory
from jobs.wiring import ProviderFactory
from sandboxes.pick import pick
from serve import app
from tests.vllm.conftest import Served

EXAMPLES = 40
"""Requests for each operation and kind."""


def fuzz(url: str, folder: Path, operations: int, *options: str) -> None:
    argv = [sys.executable, "-m", "schemathesis.cli", "run", url, "--checks", "not_a_server_error", "--max-examples", str(EXAMPLES)]
    words = ["--phases", "examples,coverage,fuzzing", "--request-timeout", "60", "--generation-database", "none", "--seed", "7"]
    done = subprocess.run([*argv, *words, *options], cwd=folder, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    tested, generated = (int(re.search(pattern, done.stdout)[1]) for pattern in (r"Tested: (\d+)", r"(\d+) generated"))  # type: ignore[index]
    assert tested >= operations and generated > 20 * tested


def test_no_request_to_the_models_is_a_server_error(served: Served, tmp_path: Path) -> None:
    fuzz(f"{served.url}/openapi.json", tmp_path, 8, "--url", served.url)
    assert served.ask(lambda model: model.models())


def test_no_request_to_the_agent_is_a_server_error(served: Served, tmp_path: Path) -> None:
    kind = pick("auto").name
    make = SolverFactory(
        config=served.config, provider=ProviderFactory(kind=kind), urls={"main": served.url}, bases={"main": str(served.base)}
    )
    url = app.deploy_agent(served.config, make, tmp_path / "solves")
    fuzz(f"{url}/openapi.json", tmp_path, 5, "--url", url)
    assert served.ask(lambda model: model.models()), "the endpoint behind the agent still answers"
