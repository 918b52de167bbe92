"""`forge solve`: a question about the repository here, to the agent of an endpoint or to one in this process; the answer as a diff."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from forge.config import ForgeConfig
from forge.endpoint.client import message_of
from forge.errors import EndpointError, ForgeError, HistoryError
from jobs.solving.adopted import with_adopted
from jobs.solving.solver import SolverFactory, snapshot
from jobs.wiring import ProviderFactory, base_folder
from sandboxes.pick import pick

Event = Mapping[str, Any]
Question = Mapping[str, Any]
Ask = Callable[[Path, Question], AsyncGenerator[Event, None]]
"""Asks a question about a repository; the last event is the result."""
COLOURS = {"analysis": "cyan", "relevance": "blue", "planning": "magenta", "generation": "yellow", "review": "green"}


def solve(ask: Ask, repo: Path, question: Question, console: Console, *, apply: bool) -> int:
    """Exit code: 0 with a patch, 1 without one. What happens is shown as it happens; `apply` puts the patch into the work tree."""
    result = asyncio.run(_shown(ask(repo, question), console, many=int(question["samples"]) > 1))
    if not result.get("patch"):
        console.print(f"no patch: {result.get('reason') or result.get('status')}", style="red", soft_wrap=True)
        return 1
    console.print(Syntax(result["patch"].rstrip("\n"), "diff", theme="ansi_dark", background_color="default", word_wrap=False))
    console.print(_about(result))
    if tested := result.get("tested"):
        said = f"stopped at its limit ({tested['breach']})" if tested.get("breach") else f"exit code {tested['exit_code']}"
        console.print(f"{question['test']}: {said}", style="green" if tested["exit_code"] == 0 else "red")
        console.print((tested["stdout"] + tested["stderr"])[-2000:].rstrip(), markup=False, highlight=False)
    if apply:
        put(repo, result["patch"])
        console.print(f"applied to {repo}")
    return 0


def remote(url: str, api_key: str) -> Ask:
    """Asks the agent of the endpoint at `url`, which gets the work tree as an archive."""

    async def ask(repo: Path, question: Question) -> AsyncGenerator[Event, None]:
        body = {**question, "archive": base64.b64encode(packed(repo)).decode()}
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            name = ""
            try:
                async with session.post(f"{url}/v1/solve/", json=body) as answer:
                    if answer.status != 200:
                        raise EndpointError(f"{url} answered HTTP {answer.status}: {message_of(await answer.read())}")
                    name = answer.headers.get("x-solve-id", "")
                    async for event in _events(answer.content):
                        yield event
            except aiohttp.ClientError as error:
                raise EndpointError(
                    f"no agent answers at {url}: {error}; start one with forge serve CONFIG, or name one with --endpoint"
                ) from error
            except asyncio.CancelledError:
                if name:
                    await session.delete(f"{url}/v1/solve/{name}")
                raise

    return ask


def in_process(config: ForgeConfig, url: str, api_key: str) -> Ask:
    """Asks an agent of this process, whose models answer at `url` and whose boxes are this machine's."""

    async def ask(repo: Path, question: Question) -> AsyncGenerator[Event, None]:
        urls = {name: url if name == "main" else f"{url}/{name}" for name in config.bases}
        bases = {name: str(base_folder(base)) for name, base in config.bases.items()}
        kind = pick(config.sandbox.kind).name
        agent = SolverFactory(
            config=with_adopted(config),
            provider=ProviderFactory(kind=kind),
            urls=urls,
            bases=bases,
            api_key=api_key,
            environments=question.get("environment", "none") != "none",
        )()
        told: asyncio.Queue[Event] = asyncio.Queue()
        asked = {key: value for key, value in question.items() if key != "issue"} | {"statement": question["issue"]}
        with tempfile.TemporaryDirectory(prefix="forge-solve-") as folder:
            tree = await asyncio.to_thread(snapshot, repo, Path(folder))

            async def whole() -> None:
                result = await agent.solve(tree, asked, told.put_nowait)
                told.put_nowait({"kind": "done", **result})

            work = asyncio.create_task(whole())
            work.add_done_callback(lambda _: told.put_nowait({"kind": "ended"}))
            try:
                while (event := await told.get())["kind"] != "ended":
                    yield event
                await work
            finally:
                work.cancel()
                await agent.close()

    return ask


def packed(repo: Path) -> bytes:
    """A tar.gz of the work tree, without what git ignores."""
    with tempfile.TemporaryDirectory(prefix="forge-solve-") as folder:
        tree = snapshot(repo, Path(folder))
        into = io.BytesIO()
        with tarfile.open(fileobj=into, mode="w:gz") as tar:
            tar.add(tree, arcname=".")
        return into.getvalue()


def put(repo: Path, patch: str) -> None:
    """Apply a patch to the work tree, whole or not at all; raises `HistoryError` when it does not fit."""
    done = subprocess.run(
        ["git", "-C", str(repo), "apply", "--whitespace=nowarn", "-"], input=patch, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise HistoryError(f"the patch does not fit {repo} any more: {done.stderr.strip().splitlines()[-1:]}; nothing was changed")


async def _shown(events: AsyncGenerator[Event, None], console: Console, *, many: bool) -> Event:
    """The result; events before it are printed."""
    async with aclosing(events):
        async for event in events:
            if event["kind"] == "done":
                return event
            if event["kind"] != "accepted":
                console.print(_line(event, many=many), soft_wrap=True)
    raise ForgeError("the agent ended without a result; look at its log in Ray's session folder")


def _line(event: Event, *, many: bool) -> Text:
    stage = event.get("stage") or event["kind"]
    # What is said of the tree and of the test is of no answer's.
    number = (f"#{event.get('sample', 0) + 1} " if event["kind"] in ("stage", "answer") else "   ") if many else ""
    line = Text(f"  {number}{stage:<11}", style=COLOURS.get(stage, "dim"))
    line.append(f" {event['text']}", style="default")
    if event.get("seconds"):
        line.append(f"   {event['seconds']:.1f} s", style="dim")
    return line


async def _events(stream: aiohttp.StreamReader) -> AsyncIterator[Event]:
    """The data of server-sent events."""
    async for raw in stream:
        line = raw.decode("utf-8").rstrip("\r\n")
        if line.startswith("data: "):
            data = json.loads(line.removeprefix("data: "))
            yield {"kind": "accepted", **data} if "kind" not in data else data


def _about(result: Event) -> Text:
    score, others = result.get("score") or 0.0, len(result.get("answers", [])) - 1
    rest = f", best of {others + 1} different answers" if others > 0 else ""
    sure = "green" if score >= 0.5 else "yellow"
    return Text.assemble(
        "review ", (f"{score:.0%}", sure), f"{rest}; {result.get('seconds', 0.0):.1f} s, {result.get('tokens', 0):,} tokens"
    )
