"""The endpoint under load for minutes while everything happens to it: promotions, loads on demand, a killed replica.

Clients without retries keep `--concurrency` chats under way. Every few seconds something changes; at half time the only replica is
killed. A failed request counts as `killed` when the replica was being replaced, else as `failed`, of which there should be none.
Memory is that of each replica's process, at half of its time, when the whole KV cache has been written to, and at its end.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks.serving import STAGES, chat, free_port, make_adapter, start_ray
from forge import nano
from forge.config import ForgeConfig, ServeConfig

ROUNDS = 7
"""Versions of each stage: more than the engine has slots and places beside them."""


def main() -> None:
    """Run it, print the counts, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two changes")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forge-endurance-") as folder:
        result = whole(given, Path(folder))
    for name, value in result.items():
        print(f"{name:<28}{value}")
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def whole(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures."""
    paths = {
        f"{stage}@r{n}-{n}": str(make_adapter(folder / f"{stage}-{n}", 10 * n + seed))
        for seed, stage in enumerate(STAGES)
        for n in range(1, ROUNDS + 1)
    }
    ray, app, serve = start_ray(folder), import_module("serve.app"), import_module("ray.serve")
    version = import_module("serve.names").Version
    config, bases = ForgeConfig(serve=ServeConfig(port=free_port(), max_adapters=10)), {"main": nano.WEIGHTS}
    versions = {name: version(stage=name.partition("@")[0], base="main", path=path) for name, path in paths.items()}

    def deploy(number: int) -> str:
        """Promote round `number` of every stage."""
        promoted = {stage: f"{stage}@r{number}-{number}" for stage in STAGES}
        loaded = {name: paths[name] for name in promoted.values()}
        url: str = app.deploy(config, bases, {"main": loaded}, app.Catalogue(versions=versions, promoted=promoted)).urls["main"]
        return url

    def replica() -> int:
        pid: int = serve.get_app_handle(app.application_name("main")).pid.remote().result(timeout_s=120)
        return pid

    try:
        run = Run(deploy(1), given)
        asyncio.run(run.carry_out(deploy, replica))
    finally:
        app.shutdown(bases)
        ray.shutdown()
    return {"benchmark": "endurance", "date": datetime.now(UTC).date().isoformat(), **run.figures()}


class Run:
    """The clients, the changes, and what came of it."""

    def __init__(self, url: str, given: argparse.Namespace) -> None:
        self.url, self.given = url, given
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.changes = 0
        self.memory: list[tuple[int, int]] = []
        self.killed = (0.0, 0.0)
        self._over = asyncio.Event()

    async def carry_out(self, deploy: Any, replica: Any) -> None:
        """Clients and changes until the time is over."""
        asyncio.get_running_loop().call_later(60 * self.given.minutes, self._over.set)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            clients = [self._ask(session, number) for number in range(self.given.concurrency)]
            await asyncio.gather(self._change(deploy), self._kill(replica), *clients)

    async def _ask(self, session: aiohttp.ClientSession, client: int) -> None:
        for number in itertools.count(client):
            if self._over.is_set():
                return
            stage = STAGES[number % len(STAGES)]
            # Now and then an exact version, loaded or not: five stages of as many rounds on ten slots.
            model = stage if number % 3 else f"{stage}@r{number % ROUNDS + 1}-{number % ROUNDS + 1}"
            began = time.monotonic()
            try:
                async with session.post(f"{self.url}/v1/chat/completions", json=chat(model, number)) as answer:
                    body = await answer.json(content_type=None)
                    told = "ok" if answer.status == 200 else f"HTTP {answer.status}"
                    if told == "ok" and body["usage"]["completion_tokens"] != 24:
                        told = "short"
            except (aiohttp.ClientError, ValueError) as error:
                told = type(error).__name__
            if told == "ok":
                self.counts["answered"] += 1
            elif began < self.killed[1] and time.monotonic() > self.killed[0] > 0:
                self.counts["killed"] += 1
                await asyncio.sleep(0.2)
            else:
                self.counts["failed"] += 1
                self.wrong.append(told)

    async def _change(self, deploy: Any) -> None:
        for number in itertools.count():
            if await self._ended(self.given.every):
                return
            if self.killed[0] and not self.killed[1]:
                continue
            await asyncio.to_thread(deploy, number % ROUNDS + 1)
            self.changes += 1

    async def _kill(self, replica: Any) -> None:
        half = 30 * self.given.minutes
        pid = await asyncio.to_thread(replica)
        await self._watch(pid, half)
        self.killed = (time.monotonic(), float("inf"))
        os.kill(pid, signal.SIGKILL)
        while True:
            try:
                pid = await asyncio.to_thread(replica)
                break
            except Exception:  # noqa: BLE001  Serve says in many ways that there is no replica
                await asyncio.sleep(0.2)
        self.killed = (self.killed[0], time.monotonic())
        await self._watch(pid, half)

    async def _watch(self, pid: int, seconds: float) -> None:
        """Note the process's memory at half of the time and at its end."""
        if not await self._ended(seconds * 0.5):
            first = psutil.Process(pid).memory_info().rss
            await self._ended(seconds * 0.5)
            self.memory.append((first, psutil.Process(pid).memory_info().rss))

    async def _ended(self, within_s: float) -> bool:
        try:
            await asyncio.wait_for(self._over.wait(), within_s)
        except TimeoutError:
            return False
        return True

    def figures(self) -> dict[str, Any]:
        """What is printed."""
        return {
            "minutes": self.given.minutes,
            "requests_per_s": round(self.counts["answered"] / (60 * self.given.minutes), 1),
            **{name: self.counts[name] for name in ("answered", "failed", "killed")},
            "changes": self.changes,
            "replaced_in_s": round(self.killed[1] - self.killed[0], 1),
            "memory_mib": [[round(before / 2**20), round(after / 2**20)] for before, after in self.memory],
            "failed_with": dict(Counter(self.wrong)),
        }


if __name__ == "__main__":
    main()
