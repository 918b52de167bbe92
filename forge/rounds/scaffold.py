"""The agent's own settings as a lever: trials on training tasks, the best one held against the settings that are in use.

A tree-structured Parzen estimator (Optuna) proposes; the study is built anew from the trials in the ledger each time, so that a restart
proposes what the run that was killed would have proposed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import optuna

from forge.config import AgentConfig
from forge.records import Decision, Record

Settings = dict[str, float]
"""Keys of `agent` that deviate from the configuration."""

SPACE: Mapping[str, optuna.distributions.BaseDistribution] = {
    "judged": optuna.distributions.IntDistribution(1, 6),
    "planned": optuna.distributions.IntDistribution(1, 4),
    "visible_test_files": optuna.distributions.IntDistribution(0, 4),
    "repairs": optuna.distributions.IntDistribution(0, 6),
    "accept_score": optuna.distributions.FloatDistribution(0.1, 0.9, step=0.1),
    "retry_temperature": optuna.distributions.FloatDistribution(0.0, 1.2, step=0.2),
}
"""What is searched. How many symbols retrieval offers is not: analysis has learnt from lists of that length."""
TOKEN_PRICE = 0.02
"""Share of tasks that twice the tokens must bring to be worth them."""


class Trial(Record):
    """Settings and what they came to on the same training tasks."""

    settings: Settings
    solved: float
    """Share of the tasks."""
    tokens: float
    """Mean of a rollout, prompts and answers."""


def propose(config: AgentConfig, in_use: Settings, trials: Sequence[Trial], seed: int) -> Settings:
    """The settings of the next trial; the first one is what is in use, all others are measured against it."""
    if not trials:
        return in_use
    study = optuna.create_study(direction="maximize", sampler=_sampler(seed + len(trials)))
    for trial in trials:
        params = {name: getattr(agent_with(config, trial.settings), name) for name in SPACE}
        study.add_trial(optuna.trial.create_trial(params=_inside(params), distributions=dict(SPACE), value=worth(trial, trials[0])))
    return dict(study.ask(dict(SPACE)).params)


def worth(trial: Trial, first: Trial) -> float:
    """What a trial is worth beside the first one: the share solved, less what its tokens cost."""
    return trial.solved - TOKEN_PRICE * (trial.tokens / max(1.0, first.tokens) - 1.0)


def best(trials: Sequence[Trial], number: int) -> tuple[Decision, Trial]:
    """The trial that is worth most, the earlier one of two alike, and why in words."""
    chosen = max(trials, key=lambda trial: worth(trial, trials[0]))
    first = trials[0]
    if chosen is first:
        why = f"none of {len(trials) - 1} other settings was worth more on the same training tasks than what is in use"
        return Decision(round=number, name="scaffold", choice="as it is", why=why), chosen
    changed = {name: value for name, value in chosen.settings.items() if first.settings.get(name) != value}
    why = (
        f"of {len(trials)} settings these solved {chosen.solved:.0%} of the same training tasks, what is in use {first.solved:.0%}, "
        f"at {chosen.tokens / max(1.0, first.tokens):.1f} times its tokens"
    )
    figures = {"solved": chosen.solved, "before": first.solved, "tokens": chosen.tokens, "trials": float(len(trials))}
    return Decision(round=number, name="scaffold", choice=told(changed), why=why, figures=figures), chosen


def agent_with(config: AgentConfig, settings: Settings) -> AgentConfig:
    """The configured agent with other settings; judging more symbols than retrieval offers is cut to that."""
    changed = AgentConfig.model_validate(config.model_dump() | settings)
    return changed.model_copy(update={"judged": min(changed.judged, changed.candidates)})


def told(settings: Settings) -> str:
    """Settings in words."""
    return ", ".join(f"{name}={value:g}" for name, value in settings.items()) or "as configured"


def _inside(params: Mapping[str, float]) -> dict[str, float]:
    """The same parameters, moved into the space where a configuration lies outside of it."""
    moved = {}
    for name, value in params.items():
        space = SPACE[name]
        assert isinstance(space, optuna.distributions.IntDistribution | optuna.distributions.FloatDistribution)
        moved[name] = min(max(value, space.low), space.high)
    return moved


def _sampler(seed: int) -> optuna.samplers.TPESampler:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=5, multivariate=True)
