"""Boxes started, commands run and patches graded: forge's providers beside plain docker-py and swebench's own runner.

All on the same tasks, planted bugs of one practice repository, in one run. The peers need a container engine and an image with
Python, git and pytest: python-slim with `pip install pytest` where a registry can be reached, or one that --base names.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import docker
from swebench.harness.run_evaluation import run_instance
from swebench.harness.utils import make_test_spec

from forge.config import TasksConfig
from forge.mining.history import GitHistory, open_history
from forge.nano.repository import draw_families, generate
from forge.records import Limits, Task
from forge.seams import SandboxProvider
from forge.store.trees import TreeStore
from forge.tasks.attempt import Attempts, Place
from forge.tasks.plan import plan
from forge.tasks.prove import Prover
from forge.tasks.public.export import Base, context, export, work_tree
from forge.tasks.public.swe_bench import version_5_row
from sandboxes.docker import DockerProvider, engine_problem
from sandboxes.grading import BoxGrader
from sandboxes.image_store import ImageStore
from sandboxes.local import LocalProvider

AT_ONCE = 8
PROVIDERS: dict[str, Callable[[], SandboxProvider]] = {
    "bubblewrap": LocalProvider,
    "docker shared": lambda: DockerProvider("shared"),
    "docker single": lambda: DockerProvider("single"),
}


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--tasks", type=int, default=6, help="tasks that are graded")
    parser.add_argument("--boxes", type=int, default=40, help="boxes and commands to take medians of")
    parser.add_argument("--base", default="python:3.11-slim", help="image that the peers' images are built on")
    options = parser.parse_args()
    if problem := engine_problem():
        raise SystemExit(f"no container engine answers: {problem}")
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="forge-bench-") as folder:
        os.chdir(folder)  # swebench's runner writes its logs below the folder that it is started in
        store = TreeStore(Path(folder) / "trees")
        tasks = asyncio.run(some_tasks(Path(folder) / "practice", store, options.tasks))
        for name, make in PROVIDERS.items():
            figures |= {f"{name}: {what}": value for what, value in asyncio.run(forge(make(), tasks, store, options.boxes)).items()}
        figures |= {f"docker-py: {what}": value for what, value in docker_py(options.base, options.boxes // 4).items()}
        figures |= {f"swebench: {what}": value for what, value in swebench(tasks, store, options.base).items()}
    ratios = {
        f"{name} beside {peer}: {what}": figures[f"{peer}: {what}"] / figures[f"{name}: {what}"]
        for name in PROVIDERS
        for peer, what in (("docker-py", "box ms"), ("docker-py", "command ms"), ("swebench", "grade ms"))
    }
    for name, value in figures.items():
        print(f"{name:<40}{value:>10.1f}")
    for name, value in ratios.items():
        print(f"{name:<52}{value:>8.1f} times faster")
    if options.json:
        host = f"{platform.machine()}, {os.cpu_count()} cores, {platform.python_version()}"
        stamp = {"benchmark": "sandbox", "date": datetime.now(UTC).date().isoformat(), "host": host}
        options.json.write_text(json.dumps(stamp | {"figures": figures, "ratios": ratios}, indent=1) + "\n")


async def some_tasks(folder: Path, store: TreeStore, number: int) -> list[Task]:
    """The first proven tasks of a practice repository made in `folder`."""
    generate(folder, seed=0, name="practice", commits=60, modules=10, difficulty=0.1, faulty=0.3, families=draw_families(0, 6))
    history = GitHistory("practice", folder)
    config = TasksConfig()
    provider = LocalProvider()
    prover = Prover(provider, store.folder, Limits(), runs=1, run_id="benchmark")
    attempts = Attempts({"practice": Place(path=str(folder), head=history.head)}, open_history, prover, store, config, 0)
    found: list[Task] = []
    try:
        for unit in plan([history], config).units:
            if (task := (await attempts.attempt(unit)).task) is not None:
                found.append(task)
            if len(found) == number:
                break
    finally:
        attempts.close()
        await provider.close()
        history.close()
    return found


async def forge(provider: SandboxProvider, tasks: list[Task], store: TreeStore, number: int) -> dict[str, float]:
    """Medians in milliseconds, boxes and grades a second with `AT_ONCE` at a time; start-up of the provider left out."""
    tree = store.folder(tasks[0].tree)

    async def box() -> None:
        await (await provider.open(tree, limits=Limits(), run_id="benchmark")).close()

    grader = BoxGrader(provider, store.folder, Limits(), "benchmark")
    try:
        await box()
        found = {"box ms": await median([box] * number)}
        found["boxes a second"] = await pace([box] * number)
        one = await provider.open(tree, limits=Limits(), run_id="benchmark")
        found["command ms"] = await median([lambda: one.run(["true"])] * number)
        await one.close()
        grades = [partial(grader.grade, task, task.gold) for task in tasks]
        assert all([(await grade()).passed for grade in grades])
        found["grade ms"] = await median(grades * 3)
        found["grades a second"] = await pace(grades * 3)
    finally:
        await provider.close()
    return found


async def median(calls: Sequence[Callable[[], Awaitable[Any]]]) -> float:
    """Milliseconds of one call, one after another."""
    times = []
    for call in calls:
        began = time.monotonic()
        await call()
        times.append(1000 * (time.monotonic() - began))
    return statistics.median(times)


async def pace(calls: Sequence[Callable[[], Awaitable[Any]]]) -> float:
    """Calls a second, `AT_ONCE` at a time."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(call: Callable[[], Awaitable[Any]]) -> None:
        async with slots:
            await call()

    began = time.monotonic()
    await asyncio.gather(*(one(call) for call in calls))
    return len(calls) / (time.monotonic() - began)


def docker_py(base: str, number: int) -> dict[str, float]:
    """A container made, started and removed; and one `exec` in it: what a plain user of docker-py pays."""
    client = docker.from_env()
    boxes, commands = [], []
    try:
        for _ in range(number):
            began = time.monotonic()
            container = client.containers.run(base, ["sleep", "60"], detach=True, network_mode="none")
            started = time.monotonic() - began
            for _ in range(4):
                began = time.monotonic()
                container.exec_run(["true"])
                commands.append(1000 * (time.monotonic() - began))
            began = time.monotonic()
            container.remove(force=True)
            boxes.append(1000 * (started + time.monotonic() - began))
    finally:
        client.close()
    return {"box ms": statistics.median(boxes), "command ms": statistics.median(commands)}


def swebench(tasks: list[Task], store: TreeStore, base: str) -> dict[str, float]:
    """Milliseconds of `run_instance` on the same tasks, their images built before."""
    client, images = docker.from_env(), ImageStore()
    times, names = [], set()
    try:
        for task in tasks:
            files = store.files(task.tree)
            instance = export(task, files, base=Base(image=base))
            images.build(instance.image, context(work_tree(task, files), Base(image=base)))
            names.add(instance.image)
            row = version_5_row(instance)
            prediction = {"instance_id": instance.id, "model_name_or_path": "gold", "model_patch": instance.gold_patch}
            began = time.monotonic()
            done = run_instance(make_test_spec(dict(row)), prediction, Offline(client), "benchmark", 120)
            times.append(1000 * (time.monotonic() - began))
            assert done is not None and done[1][instance.id]["resolved"]
    finally:
        for name in names:
            client.images.remove(name, force=True)
        images.close()
        client.close()
    return {"grade ms": statistics.median(times)}


class Offline:
    """A client whose containers get no network: swebench's runner asks for the default one, which an engine need not have."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client, self.containers = client, self

    def create(self, **about: Any) -> Any:
        """A container that is not started yet."""
        return self._client.containers.create(network_mode="none", **about)

    def get(self, name: str) -> Any:
        """A container by name."""
        return self._client.containers.get(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


if __name__ == "__main__":
    main()
