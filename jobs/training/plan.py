"""`forge train --plan`: what training would take on this machine, or on a card of a given size, before anything is loaded."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from forge.config import ForgeConfig
from forge.endpoint.tokens import BaseTokenizer
from forge.errors import EnvironmentLackError
from forge.records import Example
from forge.seams import TrainJob
from forge.training.plan import GIB, Shape, disk_bytes, flops, largest_micro, memory_bytes, shape_of
from jobs.launching import preflight
from jobs.train import Row, most_demanding, planned_job, rows_of
from jobs.wiring import base_folder

SAMPLE = 400
"""Rows whose tokens are counted, of each stage."""
UTILISATION = 0.35
"""Share of a card's dense bfloat16 rate that training reaches; assumed until it is measured."""
CARDS = {"3060": 51, "3090": 71, "4060": 60, "4070": 117, "4080": 195, "4090": 165, "5090": 210, "A100": 312, "H100": 989, "H200": 989}
"""Dense bfloat16 TFLOP/s with float32 accumulation, from NVIDIA's data sheets."""


def show_plan(config: ForgeConfig, console: Console, vram: int | None) -> None:
    """Print memory, disk and time for each stage; raises `EnvironmentLackError` when one cannot fit."""
    card = preflight.gpu()
    cuda = vram is not None or card is not None
    unsloth = config.training.backend == "unsloth" or (config.training.backend == "auto" and cuda)
    memory = vram or (_card_bytes() if card else preflight.available_memory())
    rate = _rate(card) if cuda else cpu_flops(config.training.threads) * 0.5
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("stage", "base", "rows", "tokens", "rank", "at once", "memory", "time"):
        table.add_column(name, justify="left" if name in ("stage", "base") else "right", no_wrap=True)
    seconds = disk = 0.0
    too_big: list[str] = []
    for stage, rows in rows_of(config).items():
        settings = config.bases[config.stage(most_demanding(config, rows)).base]
        base = base_folder(settings)
        job, shape = planned_job(config, stage, rows, base), shape_of(base)
        lengths = [min(length, job.max_tokens) for length in lengths_of(rows, base)]
        scaled = sum(lengths) / len(lengths) * len(rows)
        micro = largest_micro(job, shape, memory, cuda=cuda, unsloth=unsloth)
        if not micro:
            too_big.append(_refusal(job, shape, memory, cuda, unsloth))
        needed = memory_bytes(job, shape, max(1, micro), cuda=cuda, unsloth=unsloth, tokens=max(lengths) if not cuda else None)
        took = flops(job, shape, [round(scaled / len(rows))] * len(rows), recomputes=cuda) / rate if rate else 0.0
        seconds, disk = seconds + took, disk + disk_bytes(job, shape)
        name = settings.model.rpartition("/")[2] + (" 4-bit" if job.load_in_4bit else "")
        cells = (f"{len(rows):,}", f"{scaled / len(rows):,.0f}", str(job.rank), str(micro or "-"), f"{needed / GIB:.1f} GiB")
        table.add_row(stage, name, *cells, _duration(took) if rate else "?")
    where = f"a card of {memory / GIB:.1f} GiB" if cuda else f"this machine's CPU, {memory / GIB:.1f} GiB of memory available"
    console.print(f"  on {card if card and vram is None else where}, {'Unsloth' if unsloth else 'TRL with PEFT'}, {config.training.method}")
    console.print(table)
    console.print(
        f"  in all {_duration(seconds) if rate else 'unknown time (no card here)'}, {disk / GIB:.2f} GiB of disk, one stage after another"
    )
    console.print(
        f"  memory at the longest row allowed; an estimate from the base's shape{'' if not cuda else ', not calibrated on a card yet'}"
    )
    if too_big:
        raise EnvironmentLackError(too_big[0])


def lengths_of(rows: Sequence[Row], base: Path) -> list[int]:
    """Tokens that a sample of the rows puts through the model."""
    tokens = BaseTokenizer(base)
    chosen = random.Random(0).sample(list(rows), min(SAMPLE, len(rows)))
    found = []
    for row in chosen:
        prompt = row.prompt_ids or tokens.render(row.messages)
        if isinstance(row, Example):
            found.append(len(prompt) + len(row.completion_ids or tokens.encode(row.completion)) + 1)
        else:
            found.append(
                2 * len(prompt)
                + len(row.chosen_ids or tokens.encode(row.chosen))
                + len(row.rejected_ids or tokens.encode(row.rejected))
                + 2
            )
    return found


def cpu_flops(threads: int) -> float:
    """Floating-point operations a second of float32 matrix products here, measured for a fifth of a second."""
    side = 768
    left, right = (np.random.default_rng(seed).random((side, side), dtype=np.float32) for seed in (0, 1))
    left @ right
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < 0.2:
        left @ right
        count += 1
    return 2 * side**3 * count / (time.perf_counter() - began) * min(1.0, threads / 2)


def _refusal(job: TrainJob, shape: Shape, memory: int, cuda: bool, unsloth: bool) -> str:
    needed = memory_bytes(job, shape, 1, cuda=cuda, unsloth=unsloth)
    shorter = next(
        (size for size in (4096, 3072, 2048, 1024, 512) if size < job.max_tokens and _fits(job, shape, size, memory, cuda, unsloth)), 0
    )
    cure = (
        f"max_model_tokens={shorter} of its base would fit"
        if shorter
        else "take a smaller base, or load_in_4bit" + (" on a card" if not cuda else "")
    )
    return f"{job.stage} takes {needed / GIB:.1f} GiB even one sequence at a time, and there are {memory / GIB:.1f}; {cure}"


def _fits(job: TrainJob, shape: Shape, tokens: int, memory: int, cuda: bool, unsloth: bool) -> bool:
    return memory_bytes(job, shape, 1, cuda=cuda, unsloth=unsloth, tokens=tokens) <= memory


def _card_bytes() -> int:
    query = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    return int(subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.split()[0]) * 2**20


def _rate(card: str | None) -> float:
    """FLOP/s that training reaches on a card, 0 where it is not known."""
    return next((tera * 1e12 * UTILISATION for name, tera in CARDS.items() if card and name in card), 0.0)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
