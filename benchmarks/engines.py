"""llama.cpp beside vLLM behind the same front, in one run on the same cores: requests a second, adapters mixed, time to first token.

Both serve the nano base with the same adapters on one Ray, each through its replica's own port and with `--threads` of its own; only one
of them is asked at a time, by turns, `--runs` times. Ratios are of medians. Needs vLLM, and llama-server on the PATH.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.serving import STAGES, count_of, fetched, first_token_s, free_port, make_adapter, requests_per_s, start_ray
from forge import nano
from forge.config import ForgeConfig, ServeConfig

ENGINES = {"vllm": "main", "llama": "small"}
"""The name under which each engine serves the same base."""


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=96, help="requests of each measurement, a third of them one by one")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3, help="runs of each, the medians of which count")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forge-engines-") as folder:
        result = {"benchmark": "engines", "date": datetime.now(UTC).date().isoformat(), "cores": os.cpu_count()}
        result |= whole(given, Path(folder))
    show(result)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def whole(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures."""
    adapters = {f"{stage}@r1-{seed}": str(make_adapter(folder / stage, seed)) for seed, stage in enumerate(STAGES)}
    names = list(adapters)
    most = max(given.concurrency)
    loads: dict[str, tuple[int, list[str]]] = {f"one adapter, {n} at once": (n, names[3:4]) for n in given.concurrency}
    loads |= {f"{count} adapters, {most} at once": (most, names[:count]) for count in (2, 5)}
    rates: dict[str, dict[str, list[float]]] = {load: {engine: [] for engine in ENGINES} for load in loads}
    with endpoints(given.threads, adapters, folder) as found:
        for run in range(given.runs + 1):  # the first one warms up
            for load, (concurrency, models) in loads.items():
                for engine, (url, _) in found.items():
                    rate = asyncio.run(requests_per_s(url, models, count_of(given.requests, concurrency), concurrency))
                    if run:
                        rates[load][engine].append(rate)
        first = {engine: asyncio.run(first_token_s(url, given.requests, most)) for engine, (url, _) in found.items()}
        starts = {engine: seconds for engine, (_, seconds) in found.items()}
    medians = {load: {engine: statistics.median(values) for engine, values in by.items()} for load, by in rates.items()}
    return {"threads": given.threads, "requests_per_s": medians, "first_token_s": first, "start_s": starts}


@contextmanager
def endpoints(threads: int, adapters: dict[str, str], folder: Path) -> Iterator[dict[str, tuple[str, float]]]:
    """The address of each engine's replica, and the seconds until it answered."""
    ray, app, gguf_of = start_ray(folder), import_module("serve.app"), import_module("jobs.serving.llama_files").gguf_of
    port = free_port()
    found = {}
    try:
        for engine, base in ENGINES.items():
            settings = ServeConfig.model_validate({"engine": engine, "port": port, "threads": threads})
            own = {"bases": {"main": {}, base: {}}, "serve": settings.model_dump(), "workspace": str(folder / "workspace")}
            config = ForgeConfig.model_validate(own)
            began = time.monotonic()
            url = app.deploy(config, {base: nano.WEIGHTS}, {base: adapters}, gguf=gguf_of(config)).urls[base]
            found[engine] = (asyncio.run(fetched(f"{url}/forge/address"))["url"], time.monotonic() - began)
        yield found
    finally:
        app.shutdown(dict.fromkeys(ENGINES.values(), nano.WEIGHTS))
        ray.shutdown()


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{'requests/s':<28}{'vLLM':>9}{'llama.cpp':>11}{'ratio':>7}")
    for load, by in result["requests_per_s"].items():
        print(f"{load:<28}{by['vllm']:>9.1f}{by['llama']:>11.1f}{by['llama'] / by['vllm']:>7.2f}")
    for engine, seconds in result["first_token_s"].items():
        print(f"time to first token, {engine}: p50 {seconds['p50'] * 1000:.0f} ms, p99 {seconds['p99'] * 1000:.0f} ms")
    print(f"until it answers: vLLM {result['start_s']['vllm']:.1f} s, llama.cpp {result['start_s']['llama']:.1f} s")


if __name__ == "__main__":
    main()
