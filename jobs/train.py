"""Rows into adapters: `forge train`, or as a Ray job `python -m jobs.train CONFIG training.data=FOLDER workspace=PATH`."""

from __future__ import annotations

import difflib
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import ray

from forge.config import ForgeConfig
from forge.endpoint.tokens import BaseTokenizer
from forge.errors import ConfigError, TrainingError
from forge.observe.on_ray import RayTracker
from forge.observe.progress import Progress, to_stream
from forge.records import COMBINED, STAGES, AdapterRef, Example, Preference
from forge.seams import TrainJob
from forge.stages import REGISTRY
from forge.store.adapters import FolderAdapterStore
from forge.store.ledger import Ledger
from forge.store.parquet import read_records, write_records
from forge.store.workspace import Workspace
from forge.training.on_ray import TrainingService, sweep_all
from forge.training.progress import TrainProgress
from jobs.launching import preflight
from jobs.launching.job import carry_out
from jobs.training import tagged_rows
from jobs.training.trained import Shown, by_preferences, lack, store, with_average
from jobs.wiring import base_folder, train_job

Row = Example | Preference


def run(config: ForgeConfig) -> list[AdapterRef]:
    """Train what the configuration asks for on the Ray that this process belongs to, and store the adapters."""
    ray.init(logging_level="ERROR", log_to_driver=False, ignore_reinit_error=True)
    progress = Progress(to_stream(sys.stdout), every_s=float(os.environ.get("FORGE_PROGRESS_S", "5")))
    with Workspace.open(config.workspace_path) as workspace:
        ledger = Ledger(workspace.ledger)
        adapters = FolderAdapterStore(workspace.adapters, ledger)
        try:
            found = rows_of(config)
            jobs = [job_of(config, workspace.root, adapters, stage, rows) for stage, rows in found.items()]
            bases = [config.bases[config.stage(most_demanding(config, rows)).base].model for rows in found.values()]
            if config.training.sweep.trials:
                jobs = swept(config, workspace.root, jobs, progress)
            with progress.phase("train", f"{len(jobs)} adapters from the frozen base") as phase:
                phase.total(len(jobs), unit="adapters")
                with TrainingService(config.training, storage=workspace.root / "ray-train") as service:
                    results = service.train_all(jobs, Shown(jobs, phase, progress, RayTracker()))
                refs = [store(adapters, config, 0, job, result, base) for job, result, base in zip(jobs, results, bases, strict=True)]
                phase.result(f"{len(refs)} adapters in {workspace.adapters}")
            for ref in refs:
                progress.say(f"  {told(ref)}")
        finally:
            ledger.close()
    return refs


def swept(config: ForgeConfig, root: Path, jobs: Sequence[TrainJob], progress: Progress) -> list[TrainJob]:
    """The jobs with the settings that came to the lowest held-out loss; the trials are printed."""
    if config.training.method != "sft":
        raise ConfigError("a sweep compares supervised settings; leave --sweep out with --method dpo")
    trials = config.training.sweep.trials
    with progress.phase("sweep", f"{trials} settings for each of {len(jobs)} adapters") as phase:
        phase.total(trials * len(jobs), unit="settings")
        stages = [job.stage for job in jobs]

        def show(news: TrainProgress) -> None:
            phase.at(stages.index(news.stage) * trials + news.step, now=f"{news.stage}, loss {news.loss:.3f} at best")

        found = sweep_all(jobs, config.training, root / "train" / "sweeps", show)
        phase.result(", ".join(f"{job.stage} {best[0].loss:.3f}" for job, best in zip(jobs, found, strict=True)) + " (held-out loss)")
    chosen = []
    for job, best in zip(jobs, found, strict=True):
        for place, trial in enumerate(best[:3], 1):
            progress.say(f"  {job.stage} {place}: rank {trial.rank}, alpha {trial.alpha}, rate {trial.learning_rate:.1e}: {trial.loss:.3f}")
        changes = {"rank": best[0].rank, "alpha": best[0].alpha, "learning_rate": best[0].learning_rate}
        chosen.append(job.model_copy(update=changes | {"output": f"{job.output}-swept"}))
    return chosen


def told(ref: AdapterRef) -> str:
    """One line on an adapter: what it learned from, and what training measured."""
    known = ref.metrics
    if "eval_loss" in known:
        losses = f"held-out loss {known['first_eval_loss']:.3f} → {known['eval_loss']:.3f}"
    else:
        losses = f"loss {known['first_train_loss']:.3f} → {known['train_loss']:.3f}"
    if "eval_accuracy" in known:
        losses += f", held-out pairs preferred rightly {known['eval_accuracy']:.0%}"
    memory = f", {known['vram_peak_bytes'] / 2**30:.1f} GiB at most" if "vram_peak_bytes" in known else ""
    return f"{ref.model_id}: {ref.examples:,} rows, {losses}, {known['train_seconds']:.0f} s, {known['tokens_per_s']:,.0f} tokens/s{memory}"


def rows_of(config: ForgeConfig) -> dict[str, list[Row]]:
    """Rows of each stage that is asked for, or of all together.

    Raises `ConfigError` for what is not there, `TrainingError` for what teaches nothing.
    """
    settings = config.training
    kind: type[Row] = Example if settings.method == "sft" else Preference
    found: dict[str, list[Row]]
    if tagged_rows.is_tagged(Path(settings.data)):
        base = base_folder(config.bases[config.stage(tagged_rows.STAGE).base])
        found = {tagged_rows.STAGE: list(tagged_rows.read(Path(settings.data), BaseTokenizer(base)))}
    else:
        found = {stage: list(read_records(folder, kind)) for stage, folder in folders_of(config).items()}
    for stage, rows in found.items():
        if reason := lack(stage, rows):
            raise TrainingError(reason)
    if not settings.combined:
        return found
    bases = {config.stage(stage).base for stage in found}
    if len(bases) > 1:
        raise ConfigError(
            f"one adapter over all stages needs one base, and these stages have {', '.join(sorted(bases))}; set stages.*.base alike"
        )
    return {COMBINED: [row for rows in found.values() for row in rows]}


def folders_of(config: ForgeConfig) -> dict[str, Path]:
    """Where the rows of each stage that is to be trained lie; raises `ConfigError` when some are asked for that are not there."""
    settings = config.training
    root = Path(settings.data)
    for parent in (root / ("examples" if settings.method == "sft" else "preferences"), root):
        found = {stage: parent / stage for stage in STAGES if next((parent / stage).glob("*.parquet"), None)}
        if found:
            break
    else:
        raise ConfigError(f"{root} has no <stage>/*.parquet, so there is nothing to train on; give a folder that forge mine wrote")
    lacking = [stage for stage in settings.only if stage not in found]
    if lacking:
        raise ConfigError(f"{parent} has no rows for {', '.join(lacking)}; it has some for {', '.join(found)}")
    return {stage: folder for stage, folder in found.items() if not settings.only or stage in settings.only}


def job_of(config: ForgeConfig, root: Path, adapters: FolderAdapterStore, stage: str, rows: Sequence[Row]) -> TrainJob:
    """The job of a stage; the same rows and settings have the same folder, in which training goes on."""
    content = hashlib.sha256("".join(row.content_hash() for row in rows).encode()).hexdigest()[:10]
    file = root / "train" / "rows" / f"{stage}-{content}.parquet"
    if not file.exists():
        write_records(file, rows)
    base = base_folder(config.bases[config.stage(most_demanding(config, rows)).base])
    job = planned_job(config, stage, rows, base).model_copy(update={"rows": str(file)})
    if config.training.method == "dpo":
        job = by_preferences(job, config, adapters.promoted().get(stage))
    job = with_average(job, config, adapters.promoted().get(stage))
    name = f"{stage}-{hashlib.sha256(job.model_dump_json().encode()).hexdigest()[:10]}"
    logs = root / "tensorboard" / "train" / name
    return job.model_copy(update={"output": str(root / "train" / name), "logs": str(logs) if config.training.tensorboard else None})


def planned_job(config: ForgeConfig, stage: str, rows: Sequence[Row], base: Path) -> TrainJob:
    """The job of a stage as its rows and the configuration make it, not yet placed; several stages' rows get the most demanding one's."""
    job = train_job(config, most_demanding(config, rows), base, Path(), Path())
    return job.model_copy(update={"stage": stage, "method": config.training.method})


def most_demanding(config: ForgeConfig, rows: Sequence[Row]) -> str:
    """The stage among those of the rows whose adapter has the highest rank."""
    stages = {row.stage for row in rows}
    return max((stage for stage in STAGES if stage in stages), key=lambda name: config.stage(name).rank or REGISTRY[name].defaults.rank)


def check(config: ForgeConfig, *, local_ray: bool) -> None:
    """Return when training can start; raises a `ForgeError` for the first thing that lacks."""
    for stage in config.training.only:
        if stage not in STAGES:
            near = difflib.get_close_matches(stage, STAGES, n=1)
            raise ConfigError(f"there is no stage '{stage}'; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(STAGES)}"))
    if not tagged_rows.is_tagged(Path(config.training.data)):
        folders_of(config)
    elif config.training.method != "sft" or config.training.only not in ([], [tagged_rows.STAGE]):
        raise ConfigError(
            f"{config.training.data} holds texts with marked parts, from which {tagged_rows.STAGE} alone learns, by --method sft"
        )
    preflight.check_disk(config.workspace_path)
    if local_ray:
        preflight.check_packages(config, serves=False)
        preflight.check_ports({key: port for key, port in preflight.ports(config).items() if key.startswith("ray.")})


if __name__ == "__main__":
    sys.exit(carry_out(sys.argv[1:], run, check=check))
