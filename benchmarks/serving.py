"""The endpoint beside bare vLLM, in one run on the same cores: requests a second, adapters mixed, time to first token, starts, switches.

Bare is vLLM's own API server with the same base, adapters and limits, and none of ours: no Serve, no front, its own process
layout and CPU kernels. Each measurement runs on both by turns, `--runs` times; ratios are of medians. Forge is asked through Serve's
proxy, as any client would, and on the replica's own port, as forge's rollouts do. "Reloading" answers five stages one after another
with a merged model each that is loaded when it is needed, which is what a server without adapters has to do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from forge import nano
from forge.config import ForgeConfig, ServeConfig
from serve.engine import cluster_env, engine_argv, engine_env

STAGES = ("analysis", "relevance", "planning", "generation", "review")
WORDS = tuple("def total values return sum of the list when it is empty or has one item and name each function".split())  # noqa: SIM905
MAX_TOKENS = 24


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=128, help="requests of each measurement, a third of them one by one")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--runs", type=int, default=3, help="runs of each, the medians of which count")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forge-serving-") as folder:
        result = {"benchmark": "serving", "date": datetime.now(UTC).date().isoformat(), "cores": os.cpu_count()}
        result |= whole(given, Path(folder))
    show(result)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def whole(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures."""
    adapters = {f"{stage}@r1-{seed}": str(make_adapter(folder / stage, seed)) for seed, stage in enumerate(STAGES)}
    settings = ServeConfig(port=free_port(), max_sequences=128, max_rank=16)
    config = ForgeConfig(serve=settings)
    with forge_endpoint(config, adapters, folder) as forge, bare_vllm(config, adapters) as bare:
        doors = {"bare": bare["url"], "forge": forge["url"], "forge, own port": forge["direct"]}
        rates: dict[str, dict[str, list[float]]] = {}
        loads: dict[str, tuple[int, Sequence[str]]] = {f"one adapter, {n} at once": (n, [STAGES[3]]) for n in given.concurrency}
        most = max(n for n in given.concurrency if n <= 16)
        loads |= {f"{count} adapters, {most} at once": (most, STAGES[:count]) for count in (2, 5)}
        for run in range(given.runs + 1):  # the first one warms up
            for load, (concurrency, stages) in loads.items():
                for door, url in doors.items():
                    models = [f"{stage}@r1-{STAGES.index(stage)}" for stage in stages]
                    rate = asyncio.run(requests_per_s(url, models, count_of(given.requests, concurrency), concurrency))
                    if run:
                        rates.setdefault(load, {}).setdefault(door, []).append(rate)
        first = {door: asyncio.run(first_token_s(url, given.requests, most)) for door, url in doors.items()}
        staged = asyncio.run(requests_per_s(forge["url"], list(adapters), 20, 1))
        switches = [forge["switch"](f"{STAGES[0]}@r1-0") for _ in range(3)]
    return {
        "requests_per_s": {load: {door: statistics.median(found) for door, found in by.items()} for load, by in rates.items()},
        "first_token_s": first,
        "cold_start_s": {"bare": bare["start_s"], "forge": forge["start_s"]},
        "switch_s": statistics.median(switches),
        "staged_s": 5 / staged,
        "reloading_s": reloading_s(adapters),
    }


def count_of(requests: int, concurrency: int) -> int:
    """Requests of a measurement: a third where they come one by one, and enough that all places are taken twice."""
    return max(requests // (3 if concurrency == 1 else 1), 2 * concurrency)


# What answers


@contextmanager
def forge_endpoint(config: ForgeConfig, adapters: dict[str, str], folder: Path) -> Iterator[dict[str, Any]]:
    """The endpoint on a Ray of its own; `switch` promotes a version and returns the seconds until it is the one that answers."""
    ray, app = start_ray(folder), import_module("serve.app")
    bases = {"main": nano.WEIGHTS}
    version, catalogue = import_module("serve.names").Version, app.Catalogue
    versions = {name: version(stage=name.partition("@")[0], base="main", path=path) for name, path in adapters.items()}
    try:
        began = time.monotonic()
        url = app.deploy(config, bases, {"main": adapters}, catalogue(versions=versions)).urls["main"]
        started = time.monotonic() - began

        def switch(name: str) -> float:
            began = time.monotonic()
            app.deploy(config, bases, {"main": adapters}, catalogue(versions=versions, promoted={name.partition("@")[0]: name}))
            return time.monotonic() - began

        direct = asyncio.run(fetched(f"{url}/forge/address"))["url"]
        yield {"url": url, "direct": direct, "start_s": started, "switch": switch}
    finally:
        app.shutdown(bases)
        ray.shutdown()


def start_ray(folder: Path) -> Any:
    """The module `ray`, connected to a Ray of two CPUs whose files are in `folder`."""
    os.environ.update(cluster_env())
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent)
    ray = import_module("ray")
    ray.init(
        num_cpus=2,
        _temp_dir=str(folder / "ray"),
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
        logging_level="ERROR",
    )
    return ray


@contextmanager
def bare_vllm(config: ForgeConfig, adapters: dict[str, str]) -> Iterator[dict[str, Any]]:
    """vLLM's own server as a process; ended by its pid."""
    argv = engine_argv("main", nano.WEIGHTS, config.bases["main"], config.serve)
    at = argv.index("--worker-cls")
    port = free_port()
    command = [*argv[:at], *argv[at + 2 :], "--host", "127.0.0.1", "--port", str(port), "--disable-uvicorn-access-log"]
    loras = [f"{name}={path}" for name, path in adapters.items()]
    environment = os.environ | engine_env(config.serve, nano.WEIGHTS)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.monotonic()
    server = subprocess.Popen(
        [sys.executable, "-m", "vllm.entrypoints.launchers.api_server.entry", *command, "--lora-modules", *loras],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        while not asyncio.run(answers(url)):
            if server.poll() is not None or time.monotonic() - began > 300:
                raise SystemExit("vLLM's own server did not start")
            time.sleep(0.1)
        yield {"url": url, "start_s": time.monotonic() - began}
    finally:
        children = psutil.Process(server.pid).children(recursive=True)
        os.kill(server.pid, signal.SIGTERM)
        server.wait(30)
        for child in children:
            if child.is_running():
                child.kill()


def reloading_s(adapters: dict[str, str]) -> float:
    """Median seconds of one pass through five stages with a merged model each, loaded from the page cache when it is needed."""
    torch, transformers, peft = (import_module(name) for name in ("torch", "transformers", "peft"))
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(nano.WEIGHTS)
    passes = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in adapters.items():
            model = transformers.AutoModelForCausalLM.from_pretrained(nano.WEIGHTS, dtype=torch.float32)
            peft.PeftModel.from_pretrained(model, path).merge_and_unload().save_pretrained(Path(folder, name))
        for _ in range(4):
            began = time.monotonic()
            for number, name in enumerate(adapters):
                model = transformers.AutoModelForCausalLM.from_pretrained(Path(folder, name), dtype=torch.float32)
                prompt = tokenizer.apply_chat_template(prompt_of(number), add_generation_prompt=True, return_tensors="pt", return_dict=True)
                model.generate(**prompt, max_new_tokens=MAX_TOKENS, min_new_tokens=MAX_TOKENS, do_sample=False)
            passes.append(time.monotonic() - began)
    return statistics.median(passes[1:])


def make_adapter(folder: Path, seed: int) -> Path:
    """A rank-16 adapter of random weights on the nano base."""
    torch, transformers, peft = (import_module(name) for name in ("torch", "transformers", "peft"))
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_pretrained(nano.WEIGHTS, dtype=torch.float32)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", init_lora_weights=False))
    adapted.save_pretrained(folder)
    return folder


# What asks


async def requests_per_s(url: str, models: Sequence[str], count: int, concurrency: int) -> float:
    """Chats answered a second, `concurrency` under way at any time, models in turn."""
    waiting = iter(range(count))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask() -> None:
            for number in waiting:
                async with session.post(f"{url}/v1/chat/completions", json=chat(models[number % len(models)], number)) as answer:
                    body = await answer.read()
                    if answer.status != 200:
                        raise SystemExit(f"{url} answered {answer.status}: {body[:300]!r}")

        began = time.monotonic()
        await asyncio.gather(*(ask() for _ in range(concurrency)))
        return count / (time.monotonic() - began)


async def first_token_s(url: str, count: int, concurrency: int) -> dict[str, float]:
    """Median and 99th percentile of the seconds until the first piece of a streamed answer."""
    waiting, found = iter(range(count)), []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask() -> None:
            for number in waiting:
                began = time.monotonic()
                body = chat(f"{STAGES[3]}@r1-3", number) | {"stream": True}
                async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
                    async for line in answer.content:
                        if line.startswith(b"data: ") and b'"content":"' in line.replace(b'"content":""', b""):
                            found.append(time.monotonic() - began)
                            break
                    await answer.read()

        await asyncio.gather(*(ask() for _ in range(concurrency)))
    ordered = sorted(found)
    return {"p50": statistics.median(ordered), "p99": ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]}


def chat(model: str, number: int) -> dict[str, Any]:
    """A chat of about 40 tokens whose answer is exactly `MAX_TOKENS` long."""
    return {"model": model, "messages": prompt_of(number), "max_tokens": MAX_TOKENS, "min_tokens": MAX_TOKENS, "temperature": 0.0}


def prompt_of(number: int) -> list[dict[str, str]]:
    """One message of words that differ from number to number."""
    return [{"role": "user", "content": " ".join(WORDS[(number * 7 + place * (number % 5 + 1)) % len(WORDS)] for place in range(20))}]


async def fetched(url: str) -> Any:
    """The JSON at a URL."""
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.json()


async def answers(url: str) -> bool:
    """Whether a server is up."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/health") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    rates = result["requests_per_s"]
    print(f"{'requests/s':<28}{'bare vLLM':>11}{'forge':>9}{'ratio':>7}{'own port':>11}{'ratio':>7}")
    for load, by in rates.items():
        through, own = by["forge"], by["forge, own port"]
        print(f"{load:<28}{by['bare']:>11.1f}{through:>9.1f}{through / by['bare']:>7.2f}{own:>11.1f}{own / by['bare']:>7.2f}")
    one = next(by for load, by in rates.items() if load.startswith("one adapter, 16"))
    for load, by in rates.items():
        if "adapters" in load:
            print(f"{load} beside one adapter: forge {by['forge'] / one['forge']:.2f}, bare {by['bare'] / one['bare']:.2f}")
    for door, seconds in result["first_token_s"].items():
        print(f"time to first token, {door}: p50 {seconds['p50'] * 1000:.0f} ms, p99 {seconds['p99'] * 1000:.0f} ms")
    starts, reloading = result["cold_start_s"], result["reloading_s"]
    print(f"cold start: bare {starts['bare']:.1f} s, forge {starts['forge']:.1f} s; promotion {result['switch_s']:.2f} s")
    print(f"five stages {result['staged_s']:.2f} s, a model loaded for each {reloading:.2f} s: {reloading / result['staged_s']:.1f} times")


if __name__ == "__main__":
    main()
