"""Rollouts while boxes are killed, the engine restarts and its disk fills: each ends typed, no honest success is lost.

The engine is one of the test's own, on a small file system of its own. `FORGE_CHAOS_ROLLOUTS` makes it longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import docker
import psutil
import pytest

from forge.config import AgentConfig, SandboxConfig
from forge.fakes.chat_model import FakeChatModel
from forge.fakes.tokenizer import FakeTokenizer
from forge.records import STAGES, FileEdit, Limits, Outcome, Task, Trajectory
from forge.rollouts.rollout import Assignment, Runner
from forge.seams import SampleRequest
from sandboxes.docker import DockerProvider
from sandboxes.grading import BoxGrader

ROLLOUTS = int(os.environ.get("FORGE_CHAOS_ROLLOUTS", "60"))
WRONG_EVERY = 5
BROKEN = "def total(values):\n    out = 1\n    for v in values:\n        out += v\n    return out\n"
TEST = """
from shop.cart import total


def test_total():
    assert total([1, 2]) == 3


def test_type():
    assert type(total([])) is int
"""
TOKENS = FakeTokenizer()


class Engine:
    """A Docker engine of our own, whose data lie on a tmpfs of 400 MB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/socket"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # In a network of its own: an engine without a bridge removes the one that the machine's own engine uses.
        command = [
            "unshare",
            "--net",
            "dockerd",
            "--host",
            self.host,
            "--data-root",
            f"{self.folder}/data",
            "--exec-root",
            f"{self.folder}/exec",
        ]
        command += ["--pidfile", f"{self.folder}/pid", "--bridge", "none", "--iptables=false", "--log-level", "error"]
        (self.folder / "pid").unlink(missing_ok=True)
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(docker.errors.DockerException, OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(f"{self.folder}/socket")
                with closing(docker.DockerClient(base_url=self.host)) as client:
                    client.ping()
                return
            time.sleep(0.2)
        raise AssertionError((self.folder / "log").read_text()[-500:])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self._process is not None
        everything = psutil.Process(self._process.pid).children(recursive=True)
        self._process.send_signal(how)
        self._process.wait(30)
        if how == signal.SIGKILL:
            for process in everything:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(everything, timeout=10)

    def fill(self, seconds: float) -> None:
        """No byte is free for a while."""
        with contextlib.suppress(OSError), open(self.folder / "data" / "filler", "wb") as file:
            while True:
                file.write(b"x" * 2**20)
        time.sleep(seconds)
        (self.folder / "data" / "filler").unlink(missing_ok=True)


@pytest.fixture
def engine() -> Iterator[Engine]:
    if shutil.which("dockerd") is None or os.getuid() != 0:
        pytest.skip("dockerd and root are needed to start an engine of its own")
    folder = Path(tempfile.mkdtemp(prefix="fc-"))
    (folder / "data").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "none", folder / "data"], check=True)
    made = Engine(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        for process in psutil.process_iter(["cmdline"]):  # shims outlive an engine that was killed, and have no parent
            if str(folder) in " ".join(process.info["cmdline"] or ()):
                with contextlib.suppress(psutil.Error):
                    process.kill()
        subprocess.run(["umount", "-l", folder / "data"], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def make_task(number: int) -> Task:
    return Task(
        id=f"t{number}",
        repo="r",
        base_commit="b",
        origin="injected",
        statement="wrong result from total\n>>> total([1, 2])\n3",
        tree="h",
        gold=(FileEdit(path="shop/cart.py", content=BROKEN.replace("out = 1", "out = 0")),),
        tests=(FileEdit(path="tests/test_cart.py", content=TEST),),
        fail_to_pass=("tests/test_cart.py::test_total",),
        pass_to_pass=("tests/test_cart.py::test_type",),
        files=("shop/cart.py", "tests/test_cart.py"),
        side="train",
    )


def answer(request: SampleRequest) -> tuple[int, ...]:
    """An agent that is right, but for the seeds that are told to be wrong."""
    new = "2" if request.seed % WRONG_EVERY == 0 else "0"
    if request.model_id in ("relevance", "review"):
        return (TOKENS.yes_id if request.model_id == "review" or "def total" in TOKENS.decode(request.prompt_ids) else TOKENS.no_id,)
    texts = {
        "analysis": "1",
        "planning": f"edit 1\nline: out = 1\nchange: 1 -> {new}",
        "generation": f"1\n<<<<<<< SEARCH\n    out = 1\n=======\n    out = {new}\n>>>>>>> REPLACE",
    }
    return TOKENS.encode(texts[request.model_id])


async def unrest(engine: Engine, chance: random.Random, over: asyncio.Event, done: Counter[str]) -> None:
    """Kill, restart and fill until it is over; every kind at least once when there is time."""
    kinds = ["box", "container", "full disk", "restart", "engine killed"]
    while not over.is_set():
        await asyncio.sleep(chance.uniform(0.3, 1.5))
        kind = next((kind for kind in kinds if not done[kind]), None) or chance.choice([*kinds[:2] * 6, *kinds[2:]])
        await asyncio.to_thread(disturb, engine, kind, chance)
        done[kind] += 1


def disturb(engine: Engine, kind: str, chance: random.Random) -> None:
    if kind == "full disk":
        engine.fill(2.0)
    elif kind in ("restart", "engine killed"):
        engine.stop(signal.SIGTERM if kind == "restart" else signal.SIGKILL)
        engine.start()
    else:
        quiet = contextlib.suppress(docker.errors.DockerException, OSError, psutil.Error)
        with quiet, closing(docker.DockerClient(base_url=engine.host, timeout=10)) as client:
            found = client.containers.list()
            if found and kind == "container":
                chance.choice(found).kill()
            elif found:
                boxes = [int(line[1]) for line in chance.choice(found).top()["Processes"]]
                psutil.Process(chance.choice(boxes)).kill()


# docker-py forgets the socket of a connection that an engine refuses; what it forgets is collected before the test ends.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("way", ["shared", "single"])
def test_rollouts_survive_kills_restarts_and_a_full_disk(engine: Engine, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    tree = tmp_path / "tree"
    (tree / "shop").mkdir(parents=True)
    (tree / "shop" / "__init__.py").write_text("")
    (tree / "shop" / "cart.py").write_text(BROKEN)
    own = engine.folder / "tmp"
    own.mkdir()
    own.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    done: Counter[str] = Counter()
    number = ROLLOUTS if way == "shared" else ROLLOUTS // 3
    found = asyncio.run(collect(engine, tree, way, number, done))
    outcomes = Counter(trajectory.outcome for trajectory in found)
    print(way, dict(outcomes), dict(done), "retried", sum(trajectory.infra_retries > 0 for trajectory in found))
    assert len(found) == number
    for trajectory in found:
        honest = Outcome.FAILED if trajectory.seed % WRONG_EVERY == 0 else Outcome.SOLVED
        assert trajectory.outcome is honest, trajectory.reason
    with closing(docker.DockerClient(base_url=engine.host)) as client:
        assert client.containers.list(all=True) == [] and client.volumes.list() == []
    assert list(own.iterdir()) == []
    gc.collect()


async def collect(engine: Engine, tree: Path, way: str, number: int, done: Counter[str]) -> list[Trajectory]:
    provider = DockerProvider(way)  # type: ignore[arg-type]
    runner = Runner(
        model=FakeChatModel(answer),
        tokenizers=dict.fromkeys(STAGES, TOKENS),
        provider=provider,
        grader=BoxGrader(provider, lambda _: tree, Limits(), "chaos"),
        tree_folder=lambda _: tree,
        agent=AgentConfig(prompt_style="brief", repairs=0),
        sandbox=SandboxConfig(infra_retries=6),
        max_answer_tokens=dict.fromkeys(STAGES, 500),
        hidden={},
        run_id="chaos",
    )
    slots, over = asyncio.Semaphore(6), asyncio.Event()
    trouble = asyncio.create_task(unrest(engine, random.Random(0), over, done))

    async def one(place: int) -> Trajectory:
        models = {stage: stage for stage in STAGES}
        assignment = Assignment(task=make_task(place), step="collect-1", round=1, sample=0, seed=place, temperature=0.7, models=models)
        async with slots:
            await asyncio.sleep(0.2)
            return await runner.roll_out(assignment)

    try:
        found = list(await asyncio.gather(*(one(place) for place in range(number))))
        over.set()
        await trouble
        # As the next run of the loop does: what infrastructure failed is done again, never scored.
        masked = [place for place, trajectory in enumerate(found) if trajectory.outcome is Outcome.INFRA_ERROR]
        done["masked, then done again"] = len(masked)
        for place in masked:
            found[place] = await one(place)
        return found
    finally:
        over.set()
        await trouble
        await runner.close()
        await DockerProvider(way).sweep()  # type: ignore[arg-type]
