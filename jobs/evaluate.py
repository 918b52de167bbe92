"""Public suites and held-out tasks: `forge evaluate`, or as a Ray job `python -m jobs.evaluate CONFIG evaluation.suites=[…] …`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import ray
from rich.console import Console

from forge.config import ForgeConfig
from forge.endpoint.chat import ChatClient
from forge.errors import ConfigError, EnvironmentLackError
from forge.evals.suites.on_ray import ExamPool
from forge.evals.suites.registry import SUITES
from forge.evals.suites.scores import SuiteResult
from forge.observe.progress import Progress, to_stream
from forge.store import atomic
from jobs.evaluation import tables
from jobs.evaluation.bench import EngineBench
from jobs.evaluation.coding import CodingSuite, model_of, pool_of
from jobs.evaluation.heldout import HELDOUT, HeldoutSuite
from jobs.evaluation.rows import check_rows
from jobs.evaluation.served import Served, served
from jobs.evaluation.swebench import SWEBENCH, SwebenchSuite
from jobs.launching import preflight
from jobs.launching.job import carry_out
from jobs.solving.solver import SolverFactory
from jobs.wiring import ProviderFactory, base_folder
from sandboxes.pick import Choice, pick

AGENTS = (HELDOUT, SWEBENCH)
RESULT = "result.json"


def run(config: ForgeConfig) -> list[SuiteResult]:
    """Evaluate on the Ray that this process belongs to; every suite's result is written before the next one begins."""
    ray.init(logging_level="ERROR", log_to_driver=False, ignore_reinit_error=True)
    progress = Progress(to_stream(sys.stdout), every_s=float(os.environ.get("FORGE_PROGRESS_S", "5")))
    sandbox = fit(config, pick(config.sandbox.kind))
    found: list[SuiteResult] = []
    asked = config.evaluation
    with served(config, progress, asked.url, asked.key_variable) as endpoint, ExitStack() as opened:
        pool: ExamPool | None = None
        for name in config.evaluation.suites:
            if name in SUITES:
                pool = pool or opened.enter_context(pool_of(endpoint, sandbox))
                suite: CodingSuite | HeldoutSuite | SwebenchSuite = CodingSuite(name, config, pool, progress)
            else:
                suite = HeldoutSuite(endpoint, sandbox, progress) if name == HELDOUT else _swebench(endpoint, sandbox, progress)
            found.append(suite.run())
            atomic.write_text(suite.folder / RESULT, found[-1].model_dump_json(indent=1))
            progress.say(f"  {suite.folder / RESULT}")
    _show(progress, found)
    return found


def check(config: ForgeConfig, *, local_ray: bool) -> None:
    """Return when the evaluation can start; raises a `ForgeError` for the first thing that lacks."""
    evaluation = config.evaluation
    known = [*AGENTS, *SUITES]
    if not evaluation.suites:
        raise ConfigError(f"no suite is named; give --suite {'|'.join(known)}")
    for name in evaluation.suites:
        if name not in known:
            raise ConfigError(f"there is no suite {name}; there are {', '.join(known)}")
        if name in SUITES:
            check_rows(evaluation, name)
    preflight.check_disk(Path(evaluation.out))
    if evaluation.url and set(evaluation.suites) & SUITES.keys():
        asyncio.run(_check_model(config))
    if local_ray:
        preflight.check_memory(preflight.TASKS_MEMORY_BYTES)
        ports = preflight.ports(config)
        preflight.check_ports(ports if evaluation.url is None else {key: port for key, port in ports.items() if key.startswith("ray.")})
        fit(config, pick(config.sandbox.kind))


def fit(config: ForgeConfig, choice: Choice) -> Choice:
    """The sandbox, when it is strong enough for what the suites run; raises `EnvironmentLackError`."""
    strange = next((name for name in config.evaluation.suites if name != HELDOUT), None)
    if choice.trusted_only and strange is not None:
        raise EnvironmentLackError(f"{strange} runs code that a model wrote, and {choice.why}; start Docker, or install bubblewrap")
    return choice


async def _check_model(config: ForgeConfig) -> None:
    evaluation = config.evaluation
    model = model_of(evaluation)
    key = os.environ.get(evaluation.key_variable, "")
    url = Served(config, {name: str(evaluation.url).rstrip("/").removesuffix("/v1") for name in config.bases}, key).chat_url(model)
    client = ChatClient(
        url, model, key=key, temperature=0.0, max_tokens=8, request_s=evaluation.request_s, retries=1, extra=evaluation.extra
    )
    try:
        await client.check()
    finally:
        await client.close()


def _swebench(endpoint: Served, sandbox: Choice, progress: Progress) -> SwebenchSuite:
    config, models = endpoint.config, asyncio.run(endpoint.stage_models())
    make_agent = SolverFactory(
        config=config,
        provider=ProviderFactory(kind=sandbox.name),
        urls=endpoint.urls,
        bases={name: str(base_folder(base)) for name, base in config.bases.items()},
        api_key=endpoint.key,
        models=models,
    )
    bench = EngineBench(progress, workers=config.evaluation.workers, pull=config.evaluation.pull)
    return SwebenchSuite(config, models, make_agent, bench, progress)


def _show(progress: Progress, found: Sequence[SuiteResult]) -> None:
    console = Console(highlight=False, width=140, no_color=True)
    with console.capture() as shown:
        console.print(tables.results(found))
    for line in shown.get().rstrip().splitlines():
        progress.say(line.rstrip())


if __name__ == "__main__":
    sys.exit(carry_out(sys.argv[1:], run, check=check))
