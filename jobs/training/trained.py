"""What the loop and `forge train` do around training alike: show it, store what came of it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from forge.config import ForgeConfig
from forge.errors import ForgeError
from forge.observe.metrics import LOSS
from forge.observe.progress import PhaseProgress, Progress
from forge.records import AdapterRef, Example, Preference, Task
from forge.rounds.select import leaked
from forge.seams import Tracker, TrainJob, TrainResult
from forge.stages import REGISTRY
from forge.store.adapters import FolderAdapterStore, version_name
from forge.training.progress import TrainProgress


class Shown:
    """Shows jobs that train one after another as one phase, and their losses on the dashboard."""

    def __init__(self, jobs: Sequence[TrainJob], phase: PhaseProgress, progress: Progress, tracker: Tracker) -> None:
        self._stages = [job.stage for job in jobs]
        self._phase, self._progress, self._tracker = phase, progress, tracker

    def __call__(self, news: TrainProgress) -> None:
        if news.note:
            self._progress.say(f"  {news.stage}: {news.note}")
            return
        loss = f", loss {news.loss:.3f}" if news.loss is not None else ""
        done = self._stages.index(news.stage) + news.step / max(1, news.steps)
        self._phase.at(done, now=f"{news.stage} {news.step}/{news.steps}{loss}")
        if news.loss is not None:
            self._tracker.log({LOSS: news.loss}, tags={"stage": news.stage})


def lack(stage: str, rows: Sequence[Example | Preference]) -> str:
    """Why a stage learns nothing from these rows; empty when it can."""
    if not rows:
        return f"the rows of {stage} are empty; mine more commits, or leave the stage out"
    answers = {row.completion for row in rows if isinstance(row, Example)}
    if REGISTRY[stage].judgement and len(answers) == 1:
        return f"all {len(rows)} rows of {stage} are answered '{answers.pop()}', which teaches no judgement; add rows of the other answer"
    return ""


def refuse_leaks(rows: Mapping[str, Sequence[Example] | Sequence[Preference]], tasks: Sequence[Task]) -> None:
    """Raise `ForgeError` when a row of any stage shows something of a task that is not trained on."""
    found = leaked((row for stage in rows.values() for row in stage), [task for task in tasks if task.side != "train"])
    if found:
        raise ForgeError(f"{len(found)} training rows show something of a held-out task, first {found[0]}; nothing was trained")


def with_average(job: TrainJob, config: ForgeConfig, promoted: AdapterRef | None) -> TrainJob:
    """The job with its stage's promoted adapter mixed in, where that is asked for and there is one of the same rank."""
    weight = config.training.slow_average
    if not weight or promoted is None or promoted.rank != job.rank:
        return job
    return job.model_copy(update={"average": promoted.path, "average_weight": weight})


def by_preferences(job: TrainJob, config: ForgeConfig, promoted: AdapterRef | None) -> TrainJob:
    """The job with DPO's settings, from the stage's promoted adapter on where that is asked for and there is one of the same rank."""
    dpo = config.training.dpo
    start = promoted.path if dpo.start == "promoted" and promoted is not None and promoted.rank == job.rank else None
    changes = {"method": "dpo", "beta": dpo.beta, "sft_weight": dpo.sft_weight, "learning_rate": dpo.learning_rate, "epochs": dpo.epochs}
    return job.model_copy(update=changes | {"start": start, "max_steps": None})


def store(adapters: FolderAdapterStore, config: ForgeConfig, number: int, job: TrainJob, result: TrainResult, base: str) -> AdapterRef:
    """The result of a job as a version of its stage; what training resumes from stays as it is. What was trained apart has round 0."""
    version = version_name(number, Path(result.output))
    staged = adapters.root.parent / "staged" / f"{job.stage}@{version}"
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(result.output, staged)
    ref = AdapterRef(
        stage=job.stage,
        version=version,
        round=number,
        path=str(staged),
        base=base,
        base_sha256=result.base_sha256,
        data_sha256=hashlib.sha256(Path(job.rows).read_bytes()).hexdigest(),
        rank=job.rank,
        examples=result.examples,
        metrics=result.metrics,
    )
    return adapters.add(staged, ref, config=config.model_dump(mode="json"))
