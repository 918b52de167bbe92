"""`forge solve`: its options."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from forge.errors import ConfigError

KEY = "FORGE_API_KEY"

Issue = Annotated[str, typer.Argument(help="What is wrong, in words; - reads it from standard input.", show_default=False)]
Repo = Annotated[Path, typer.Option(help="The repository, as its work tree is now.")]
Url = Annotated[str, typer.Option(help=f"Where forge serve answers; its key, if it asks for one, is in ${KEY}.")]
Apply = Annotated[bool, typer.Option("--apply", help="Put the patch into the work tree.")]
Test = Annotated[str, typer.Option("--test", help="Command to run on the answer, in a sandbox, such as 'python -m pytest -q'.")]
Surroundings = Annotated[
    Literal["none", "auto"],
    typer.Option(
        "--environment", help="Where tests run: none is forge's own Python, auto one with the packages that the repository asks for."
    ),
]
Count = Annotated[int, typer.Option("--n", min=1, max=16, help="Answers to choose from; the review adapter is the judge.")]
Seconds = Annotated[float, typer.Option(help="Wall clock after which the answers so far must do.")]
InProcess = Annotated[bool, typer.Option("--in-process", help="Run agent and sandbox here; only the models answer at the endpoint.")]
Config = Annotated[
    list[str] | None, typer.Option("--config", help="With --in-process: CONFIG or key=value of the endpoint.", show_default=False)
]


def solve(
    issue: Issue,
    repo: Repo = Path("."),
    endpoint: Url = "http://127.0.0.1:8123",
    apply: Apply = False,
    test: Test = "",
    environment: Surroundings = "none",
    n: Count = 4,
    seconds: Seconds = 300.0,
    in_process: InProcess = False,
    config: Config = None,
) -> int:
    """Ask the served agent to solve an issue; its stages are shown as they go, then a diff.

    Examples:

        forge solve "total() ignores negative values"

        forge solve "dates before 1970 fail" --repo ../mine --environment auto --test "python -m pytest -q"

        forge solve - --repo ../mine --n 8 --test "python -m pytest -q tests" --apply < issue.txt
    """
    from rich.console import Console

    from forge import config as configuration
    from jobs.cli import split
    from jobs.solving import solve as work

    text = sys.stdin.read() if issue == "-" else issue
    if not text.strip():
        raise ConfigError("the issue is empty; say what is wrong")
    question: dict[str, Any] = {"issue": text.strip(), "samples": n, "seconds": seconds, "test": test}
    if environment != "none":
        question["environment"] = environment
    url, key = endpoint.rstrip("/"), os.environ.get(KEY, "")
    if in_process:
        paths, overrides = split(config or [])
        ask = work.in_process(configuration.load(paths, overrides), url, key)
    else:
        ask = work.remote(url, key)
    return work.solve(ask, repo.expanduser(), question, Console(highlight=False), apply=apply)


def mcp(endpoint: Url = "http://127.0.0.1:8123") -> int:
    """Offer the served agent to MCP clients, as the tool `solve` over standard input and output.

    In a client's configuration: {"mcpServers": {"forge": {"command": "forge", "args": ["mcp"]}}}
    """
    from jobs.solving.mcp_server import server_of
    from jobs.solving.solve import remote

    server_of(remote(endpoint.rstrip("/"), os.environ.get(KEY, ""))).run()
    return 0
