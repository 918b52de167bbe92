"""Which settings suit a stage: Optuna proposes, several adapters at once are trained on one loaded base, held-out loss decides.

The study is a file: a sweep that was ended goes on, and trials under way are tried again.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import optuna
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from forge.config import SweepConfig
from forge.errors import TrainingError
from forge.seams import TrainJob
from forge.store.parquet import read_examples
from forge.training import base, rows
from forge.training.packed import Losses, Schedule, Setting, train_side_by_side
from forge.training.trial import Trial


def sweep(job: TrainJob, config: SweepConfig, study_file: Path, tell: Callable[[int, int, Losses], None] = lambda *_: None) -> list[Trial]:
    """The trials of a stage, best first. `tell` gets the trials done, the step and the losses of those under way.

    Raises `TrainingError` when the rows teach nothing, or no trial came to a loss.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = base.locate(job.base)
    held_back = read_examples(Path(job.eval_rows)) if job.eval_rows else None
    tokenizer = AutoTokenizer.from_pretrained(folder)
    data = rows.encode_all(
        read_examples(Path(job.rows)), held_back, tokenizer, max_tokens=job.max_tokens, eval_fraction=job.eval_fraction or 0.1
    )
    cuda = torch.cuda.is_available()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16 if cuda else torch.float32).to("cuda" if cuda else "cpu")
    model.requires_grad_(False)
    epochs = math.ceil(len(data.train) / job.batch_size) * job.epochs
    steps = max(1, min(math.ceil(epochs * config.share), job.max_steps or sys.maxsize))
    study_file.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=job.stage,
        storage=f"sqlite:///{study_file}",
        sampler=_sampler(job.seed),
        load_if_exists=True,
    )
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # left by a run that was ended
    while (done := len(_finished(study))) < config.trials:
        asked = [study.ask() for _ in range(min(config.at_once, config.trials - done))]
        settings = [_setting(trial, config) for trial in asked]
        schedule = Schedule(steps=steps, batch_size=job.batch_size, seed=job.seed, rslora=job.rslora)
        losses = train_side_by_side(model, data, settings, schedule, lambda step, now, done=done: tell(done, step, now))  # type: ignore[misc]
        for trial, loss in zip(asked, losses, strict=True):
            study.tell(trial, loss if math.isfinite(loss) else None, state=None if math.isfinite(loss) else optuna.trial.TrialState.PRUNED)
    found = [trial for trial in _finished(study) if trial.value is not None]
    if not found:
        raise TrainingError(
            f"no setting that was tried for {job.stage} came to a loss that is a number; lower training.sweep.learning_rates"
        )
    return sorted((_trial(trial) for trial in found), key=lambda trial: trial.loss)


def _sampler(seed: int) -> optuna.samplers.TPESampler:
    """Trials that are asked for together count as bad ones until they end, so that they differ."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    found: list[optuna.trial.FrozenTrial] = study.get_trials(states=[optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED])
    return found


def _setting(trial: optuna.Trial, config: SweepConfig) -> Setting:
    rank = trial.suggest_categorical("rank", config.ranks)
    ratio = trial.suggest_categorical("alpha_ratio", config.alpha_ratios)
    low, high = config.learning_rates
    return Setting(
        rank=int(rank), alpha=max(1, round(rank * ratio)), learning_rate=trial.suggest_float("learning_rate", low, high, log=True)
    )


def _trial(trial: optuna.trial.FrozenTrial) -> Trial:
    rank = int(trial.params["rank"])
    alpha = max(1, round(rank * trial.params["alpha_ratio"]))
    return Trial(rank=rank, alpha=alpha, learning_rate=trial.params["learning_rate"], loss=trial.value)
