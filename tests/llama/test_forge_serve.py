"""`forge serve configs/quickstart.yaml serve.engine=llama` as a person runs it: the nano base, two adapters, and a promotion under way."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import openai
import psutil
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from forge import nano
from forge.endpoint.tokens import BaseTokenizer
from forge.records import AdapterRef, Message
from forge.store.adapters import FolderAdapterStore
from forge.store.ledger import Ledger
from forge.store.workspace import Workspace
from forge.training.logprobs import of_adapter
from tests.vllm.conftest import ROOT
from tests.vllm.tiny_models import make_adapter

QUESTIONS = ("find the bug in total(values)", "def add(a, b):\n    return a - b", "is this right? yes or no")
TOKENS = 12


class Running(NamedTuple):
    """A `forge serve` that is up, what it writes, and its workspace."""

    process: subprocess.Popen[str]
    url: str
    output: Path
    root: Path


def ids_of(question: str) -> tuple[int, ...]:
    return BaseTokenizer(nano.WEIGHTS).render([Message(role="user", content=question)])


def promote(root: Path, stage: str, version: str, seed: int) -> str:
    """The exact id of a new adapter of the nano base in a workspace, with what training would have seen of it."""
    folder = make_adapter(root.parent / f"{stage}-{version}", nano.WEIGHTS, seed=seed)
    pairs = [(ids_of(question), tuple(range(20, 26))) for question in QUESTIONS]
    logprobs = of_adapter(str(nano.WEIGHTS), folder, pairs)
    rows = [{"prompt_ids": p, "completion_ids": c, "logprobs": v} for (p, c), v in zip(pairs, logprobs, strict=True)]
    (folder / "canary.json").write_text(json.dumps(rows))
    ref = AdapterRef(
        stage=stage, version=version, round=1, path=str(folder), base="nano", base_sha256="0", data_sha256="0", rank=16, examples=1
    )  # fmt: skip
    with Ledger(Workspace(root).ledger) as ledger:
        store = FolderAdapterStore(Workspace(root).adapters, ledger)
        stored = store.add(folder, ref)
        store.promote([stored])
    return stored.model_id


@cache
def expected(folder: str | None, prompt: tuple[int, ...]) -> tuple[list[int], list[float]]:
    """Greedy tokens of transformers with PEFT, and their logprobs."""
    torch.set_num_threads(1)  # two threads wait for each other when other programs are busy
    model: Any = AutoModelForCausalLM.from_pretrained(nano.WEIGHTS, dtype=torch.float32)
    if folder:
        model = PeftModel.from_pretrained(model, folder)
    ids, logprobs = list(prompt), []
    while len(logprobs) < TOKENS and ids[-1] != BaseTokenizer(nano.WEIGHTS).end_id:
        with torch.no_grad():
            best = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0, -1], dim=-1).max(dim=-1)
        ids.append(int(best.indices))
        logprobs.append(float(best.values))
    return ids[len(prompt) :], logprobs


@pytest.fixture(scope="module")
def running(llama_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("serve")
    root = folder / "workspace"
    Workspace.open(root).close()
    promote(root, "generation", "r1-one", seed=1)
    promote(root, "review", "r1-two", seed=2)
    ports = free_ports(3)
    keys = [f"serve.port={ports[0]}", f"ray.port={ports[1]}", f"ray.dashboard_port={ports[2]}", f"workspace={root}"]
    output = folder / "output"
    with output.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", "serve", str(ROOT / "configs/quickstart.yaml"), "serve.engine=llama", *keys],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=out, stderr=out, text=True,
        )  # fmt: skip
    try:
        wait_for(lambda: "Ctrl-C ends it" in output.read_text(), process, output)
        yield Running(process, f"http://127.0.0.1:{ports[0]}", output, root)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(120)


def wait_for(holds: Any, process: subprocess.Popen[str], output: Path, within_s: float = 600.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert process.poll() is None and time.monotonic() < deadline, output.read_text()
        time.sleep(0.2)


async def answers(url: str, asked: list[tuple[str, str]]) -> list[tuple[list[int], list[float]]]:
    """Token ids and logprobs of all answers, asked for at once."""
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

    async def ask(model: str, question: str) -> tuple[list[int], list[float]]:
        answer = await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": question}], max_tokens=TOKENS, temperature=0.0, logprobs=True,
            extra_body={"return_token_ids": True},
        )  # fmt: skip
        choice = answer.choices[0]
        assert choice.logprobs and choice.logprobs.content
        return choice.model_dump()["token_ids"], [entry.logprob for entry in choice.logprobs.content]

    found = list(await asyncio.gather(*(ask(model, question) for model, question in asked)))
    await client.close()
    return found


def test_stages_mixed_at_once_answer_as_transformers_with_peft(running: Running) -> None:
    folders = {"main": None, "generation": "generation/r1-one", "review": "review/r1-two"}
    asked = [(model, question) for question in QUESTIONS for model in folders] * 2
    found = asyncio.run(answers(running.url, asked))
    for (model, question), (ids, logprobs) in zip(asked, found, strict=True):
        folder = folders[model]
        tokens, theirs = expected(folder and str(running.root / "adapters" / folder), ids_of(question))
        assert ids == tokens
        assert logprobs == pytest.approx(theirs, abs=2e-4)
    by_model = {model: [found[n] for n, (name, _) in enumerate(asked) if name == model] for model in folders}
    assert len({str(one) for one in by_model.values()}) == len(folders), "base and adapters answer the same"


def test_a_promotion_is_taken_over_while_others_ask(running: Running) -> None:
    said = running.output.read_text()
    assert "promoted: generation@r1-one, review@r1-two (logprobs within" in said

    async def whole() -> int:
        stop, count = asyncio.Event(), 0

        async def traffic() -> None:
            nonlocal count
            while not stop.is_set():
                count += len(await answers(running.url, [("generation", QUESTIONS[0]), ("review", QUESTIONS[1])]))

        async def change() -> None:
            name = await asyncio.to_thread(promote, running.root, "planning", "r2-three", 3)
            await asyncio.to_thread(wait_for, lambda: f"promoted: {name}" in running.output.read_text(), running.process, running.output)
            stop.set()

        await asyncio.gather(change(), traffic())
        return count

    assert asyncio.run(whole()) > 4
    (planning,) = asyncio.run(answers(running.url, [("planning", QUESTIONS[0])]))
    assert planning[0] == expected(str(running.root / "adapters" / "planning/r2-three"), ids_of(QUESTIONS[0]))[0]


def test_forge_solve_is_answered_by_the_agent(running: Running, tmp_path: Path) -> None:
    (tmp_path / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    command = [sys.executable, "-m", "jobs.cli", "solve", "add subtracts", "--repo", str(tmp_path), "--endpoint", running.url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    # Adapters of random weights solve nothing; what is held is that every stage was answered.
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stdout + done.stderr
    assert "analysis" in done.stdout + done.stderr


def test_nothing_is_left_when_it_ends(running: Running) -> None:
    mine = [one for one in psutil.process_iter(["cmdline"]) if str(running.root) in " ".join(one.info["cmdline"] or [])]
    servers = [one for one in psutil.process_iter(["name", "cwd"]) if one.info["cwd"] == str(running.root / "gguf")]
    assert servers, "llama-server works in the folder of its files"
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(120) in (0, 130, -2)
    _, left = psutil.wait_procs([*servers, *mine], timeout=30)
    assert left == []


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    found = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return found
