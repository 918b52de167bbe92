"""Examples that a base makes and proves for itself: `forge align`, or as a Ray job `python -m jobs.align CONFIG align.url=… …`."""

from __future__ import annotations

import asyncio
import datetime
import os
import sys
from collections import Counter
from collections.abc import Sequence

import ray
from rich.console import Console
from rich.table import Table

import forge
from forge.config import ForgeConfig
from forge.endpoint.chat import ChatClient
from forge.errors import ConfigError, EnvironmentLackError
from forge.evals.suites.on_ray import Pool
from forge.mining.align.aligner import Ended, Work, works
from forge.mining.align.card import AlignCard, card_of
from forge.mining.align.folder import NAME, AlignedFolder
from forge.mining.align.seeds import Sown, sow
from forge.mining.align.select import Selection, benchmarks_of, select
from forge.mining.align.teach import Aligned
from forge.mining.quality.benchmarks import load_sets
from forge.mining.quality.contamination import Benchmarks
from forge.observe.progress import Progress, to_stream
from forge.records import Example
from forge.store import atomic
from forge.store.parquet import write_records
from forge.store.workspace import Workspace
from jobs.alignment.rows import heldout_files, mined_folder, rows_in, tasks_of
from jobs.alignment.worker import AlignerFactory, AlignWorker
from jobs.evaluation.samples import Kept, stop_if_sick
from jobs.evaluation.served import Served, served
from jobs.launching import preflight
from jobs.launching.job import carry_out
from jobs.wiring import ProviderFactory
from sandboxes.pick import Choice, pick

SHOWN = 12
"""Reasons of each kind that the table shows."""


def run(config: ForgeConfig) -> AlignCard:
    """Align what the configuration names on the Ray that this process belongs to; rows and card are in the workspace then."""
    ray.init(logging_level="ERROR", log_to_driver=False, ignore_reinit_error=True)
    progress = Progress(to_stream(sys.stdout), every_s=float(os.environ.get("FORGE_PROGRESS_S", "5")))
    sandbox = fit(pick(config.sandbox.kind))
    with Workspace.open(config.workspace_path) as workspace:
        folder = AlignedFolder(workspace.root / NAME)
        tasks, mined = tasks_of(workspace), mined_folder(config)
        contamination = config.mining.contamination
        known = benchmarks_of(load_sets(contamination.sets), tasks, contamination)
        with progress.phase("seeds", f"documented functions of {mined.root} that stand by themselves") as phase:
            sown = sow(rows_in(mined), config.align, known, heldout=heldout_files(tasks), seed=config.seed)
            phase.result(f"{len(sown.seeds)} seeds of {sown.functions} functions, {sown.spare} more fit")
        if not sown.seeds:
            raise ConfigError(f"none of {sown.functions} functions in {mined.root} is a seed: {_most(sown.drops) or 'there is none'}")
        with served(config, progress, config.align.url, config.align.key_variable) as endpoint:
            ended = _ends(config, endpoint, sandbox, folder, sown, progress)
        card = _write(config, folder, sown, ended, known, str(mined.root))
        _show(progress, card)
        progress.say(f"  rows {folder.rows}, what they are made of {folder.kept}, counts {folder.card}")
    return card


def check(config: ForgeConfig, *, local_ray: bool) -> None:
    """Return when seeds can be aligned; raises a `ForgeError` for the first thing that lacks."""
    mined_folder(config)
    preflight.check_disk(config.workspace_path)
    if config.align.url:
        asyncio.run(_check_model(config))
    if local_ray:
        preflight.check_memory(preflight.TASKS_MEMORY_BYTES)
        ports = preflight.ports(config)
        preflight.check_ports(ports if config.align.url is None else {key: port for key, port in ports.items() if key.startswith("ray.")})
        fit(pick(config.sandbox.kind))


def fit(choice: Choice) -> Choice:
    """The sandbox, when it is strong enough for what a model writes; raises `EnvironmentLackError`."""
    if choice.trusted_only:
        raise EnvironmentLackError(f"forge align runs code that a model wrote, and {choice.why}; start Docker, or install bubblewrap")
    return choice


async def _check_model(config: ForgeConfig) -> None:
    align = config.align
    url = Served(config, {name: str(align.url).rstrip("/").removesuffix("/v1") for name in config.bases}, "").chat_url(align.model)
    key = os.environ.get(align.key_variable, "")
    client = ChatClient(url, align.model, key=key, temperature=0.0, max_tokens=8, request_s=align.request_s, retries=1, extra=align.extra)
    try:
        await client.check()
    finally:
        await client.close()


def _ends(config: ForgeConfig, endpoint: Served, sandbox: Choice, folder: AlignedFolder, sown: Sown, progress: Progress) -> list[Ended]:
    """The end of every seed: from an earlier run, or made now and kept at once; those that were lost are not kept."""
    align, style = config.align, config.agent.prompt_style
    wanted = works(sown.seeds, align, style, config.seed)
    factory = AlignerFactory(
        config=align,
        url=endpoint.chat_url(align.model),
        key=endpoint.key,
        answers=str(folder.answers),
        provider=ProviderFactory(kind=sandbox.name),
        style=style,
        run_seed=config.seed,
        retries=config.sandbox.infra_retries,
    )
    kept = Kept(folder.ends, Ended)
    pool = Pool(AlignWorker, factory, name="align", workers=align.workers, concurrency=align.concurrency)
    try:
        lost = _carry_out(wanted, pool, kept, progress, f"{len(wanted)} instructions by {align.model}, {align.answers} answers each")
    finally:
        pool.close()
        kept.close()
    return [kept.known.get(work.key) or lost[work.key] for work in wanted]


def _carry_out(wanted: Sequence[Work], pool: Pool, kept: Kept[Ended], progress: Progress, what: str) -> dict[str, Ended]:
    """What infrastructure lost, by key; everything else is in `kept` then."""
    todo = [work for work in wanted if work.key not in kept.known]
    lost: dict[str, Ended] = {}
    with progress.phase(NAME, what) as phase:
        phase.total(len(wanted), done=len(wanted) - len(todo), unit="seeds")
        good = 0
        for done, ended in enumerate(pool.each("align", todo), 1):
            if ended.masked:
                lost[ended.key] = ended
                stop_if_sick(done, Counter(one.masked for one in lost.values()), "seeds")
            else:
                kept.add(ended)
                good += ended.aligned is not None
            phase.advance(now=f"{good} with an answer that passes" + (f", {len(lost)} masked" if lost else ""))
        phase.result(
            f"{good} of {len(todo) - len(lost)} with an answer that passes, {len(wanted) - len(todo)} from before, {len(lost)} masked"
        )
    return lost


def _write(config: ForgeConfig, folder: AlignedFolder, sown: Sown, ended: Sequence[Ended], known: Benchmarks, data: str) -> AlignCard:
    """What the whole set keeps, its rows and the card, each file whole or not at all."""
    found = [one.aligned for one in ended if one.aligned is not None]
    chosen: Selection = select(found, known, config.align.duplicates, config.agent.prompt_style)
    asked = config.align.model_dump(mode="json", include={"answers", "temperature", "max_answer_tokens", "seeds", "extra"})
    card = card_of(
        sown,
        ended,
        chosen,
        made=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        code_version=forge.__version__,
        settings={name: str(value) for name, value in asked.items() if value != {}},
        data=data,
        model=config.align.model,
    )
    write_records(folder.kept, chosen.kept, Aligned)
    write_records(folder.rows, chosen.rows, Example)
    atomic.write_text(folder.card, card.model_dump_json(indent=1))
    return card


def _show(progress: Progress, card: AlignCard) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("what", overflow="fold")
    table.add_column("number", justify="right")
    for what, number, reasons in (
        ("functions", card.functions, card.unfit),
        ("seeds", card.seeds, card.failed | {f"masked: {reason}": number for reason, number in card.masked.items()}),
        ("answers", sum(card.answers.values()), card.answers),
        ("rows", card.rows, {f"left out, {reason}": number for reason, number in card.dropped.items()}),
    ):
        table.add_row(what, f"{number:,}", style="bold")
        for reason, counted in list(reasons.items())[:SHOWN]:
            table.add_row(f"  {reason}", f"{counted:,}")
    console = Console(highlight=False, width=140, no_color=True)
    with console.capture() as shown:
        console.print(table)
    for line in [*shown.get().rstrip().splitlines(), f"  {card.spent.told()}"]:
        progress.say(line.rstrip())


def _most(drops: dict[str, int]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in sorted(drops.items(), key=lambda item: -item[1])[:3])


if __name__ == "__main__":
    sys.exit(carry_out(sys.argv[1:], run, check=check))
