"""Histories into rows: `forge mine`, or as a Ray job `python -m jobs.mine [CONFIG] history.repos=[…] workspace=PATH`."""

from __future__ import annotations

import datetime
import os
import sys
from pathlib import Path

import ray
import yaml

import forge
from forge.config import ForgeConfig
from forge.mining.card import DataCard, Tally, card_of
from forge.mining.card_page import card_page
from forge.mining.counts import MiningCounts
from forge.mining.enrich.judge import calibrate
from forge.mining.enrich.labels import read_labels
from forge.mining.folder import MinedFolder
from forge.mining.on_ray import MiningProgress, mine
from forge.mining.row import Row
from forge.observe.progress import PhaseProgress, Progress, to_stream
from forge.store import atomic
from forge.store.parquet import stream_records
from forge.store.workspace import Workspace
from jobs.launching.job import carry_out
from jobs.mining.repositories import check_mining, repositories
from jobs.wiring import teacher_of

UNITS = {"survey": "repositories", "read": "shards read", "compare": "whole set", "finish": "shards finished"}
"""What each step counts."""


def run(config: ForgeConfig) -> MiningCounts:
    """Mine `history.repos` on the Ray that this process belongs to, and write the data card."""
    ray.init(logging_level="ERROR", log_to_driver=False, ignore_reinit_error=True)
    progress = Progress(to_stream(sys.stdout), every_s=float(os.environ.get("FORGE_PROGRESS_S", "5")))
    with Workspace.open(config.workspace_path) as workspace:
        folder = MinedFolder(workspace.root)
        progress.say(f"  mined set {folder.root}{' (goes on from what is there)' if folder.read.exists() else ''}")
        repos = repositories(config)
        with progress.phase("mine", f"{len(repos)} repositories to rows") as phase:
            counts = mine(
                repos,
                folder,
                config.mining,
                make_teacher=teacher_of(config, workspace),
                teacher=config.teacher.model or "",
                style=config.agent.prompt_style,
                progress=_Shown(phase),
            )
            phase.result(summary(counts, config))
        with progress.phase("card", "what is in it, and rows to read") as phase:
            card = write_card(config, folder, counts)
            phase.result(f"{len(card.shown)} rows to read in {folder.card_html}")
        for place, reason in counts.failures.items():
            progress.say(f"  could not be read: {place}: {reason}")
        progress.say(f"  rows {folder.commits}, stage rows {folder.examples}")
        progress.say(f"  forge data stats {folder.root} counts them, forge data show {folder.root} prints some")
    return counts


def summary(counts: MiningCounts, config: ForgeConfig) -> str:
    """One line on what came of it."""
    parts = [f"{counts.survivors:,} rows of {counts.commits:,} commits", f"{counts.teaching:,} teach the stages"]
    parts += [f"{len(counts.failures):,} could not be read"] if counts.failures else []
    parts += [counts.spent.told(config.teacher.prompt_price, config.teacher.answer_price)] if config.teacher.model else []
    return "; ".join(parts)


def write_card(config: ForgeConfig, folder: MinedFolder, counts: MiningCounts) -> DataCard:
    """The data card of a finished set, written as JSON and as a page."""
    tally = Tally(config.seed)
    for file in sorted(folder.commits.glob("*.parquet")):
        tally.add(stream_records(file, Row))
    labels = config.mining.enrich.labels
    card = card_of(
        tally,
        counts,
        name=", ".join(list(tally.counts["repo"])[:6]) or folder.root.name,
        made=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        code_version=forge.__version__,
        settings=yaml.safe_dump(config.mining.model_dump(mode="json"), sort_keys=False),
        calibration=calibrate(tally.scores, read_labels(Path(labels))) if labels and tally.scores else None,
    )
    atomic.write_text(folder.card_json, card.model_dump_json(indent=1))
    atomic.write_text(folder.card_html, card_page(card))
    return card


class _Shown:
    """Shows the steps of mining as one phase, a bar for each of them."""

    def __init__(self, phase: PhaseProgress) -> None:
        self._phase = phase
        self._step = ""

    def __call__(self, progress: MiningProgress) -> None:
        if progress.step != self._step:
            self._step = progress.step
            self._phase.total(progress.total, unit=UNITS[progress.step])
        counts = progress.counts
        self._phase.at(progress.done, now=f"{counts.commits:,} commits read, {counts.survivors:,} rows kept")


if __name__ == "__main__":
    sys.exit(carry_out(sys.argv[1:], run, check=check_mining))
