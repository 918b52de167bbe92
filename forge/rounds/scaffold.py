"""The agent's own settings as a lever: trials on training tasks, the best one held against the settings that are in use.

A tree-structured Parzen estimator (Optuna) proposes; the study is built anew from the trials in the ledger each time, so that a restart
proposes what the run that was killed would have proposed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import optuna

from forge.config import AgentConfig, ScaffoldConfig
from forge.config.prompts import WRITING
from forge.errors import ConfigError
from forge.records import Decision, Record

Settings = dict[str, float | str]
"""Keys of `agent` that deviate from the configuration; `temperatures.STAGE` and `prompts.STAGE` (a file's path) are keys in it."""

SPACE: Mapping[str, optuna.distributions.BaseDistribution] = {
    "judged": optuna.distributions.IntDistribution(1, 6),
    "planned": optuna.distributions.IntDistribution(1, 4),
    "visible_test_files": optuna.distributions.IntDistribution(0, 4),
    "repairs": optuna.distributions.IntDistribution(0, 6),
    "samples": optuna.distributions.IntDistribution(1, 4),
    "accept_score": optuna.distributions.FloatDistribution(0.1, 0.9, step=0.1),
    "retry_temperature": optuna.distributions.FloatDistribution(0.0, 1.2, step=0.2),
} | {f"temperatures.{stage}": optuna.distributions.FloatDistribution(0.0, 1.2, step=0.2) for stage in WRITING}
"""What can be searched beside prompts. How many symbols retrieval offers is not: analysis has learnt from lists of that length."""
OWN_WORDS = ""
"""The choice of a prompt that is none: the stage's own instructions."""


class Trial(Record):
    """Settings and what they came to on the same training tasks."""

    settings: Settings
    solved: float
    """Share of the tasks."""
    tokens: float
    """Mean of a rollout, prompts and answers."""


def space_of(config: AgentConfig, scaffold: ScaffoldConfig) -> dict[str, optuna.distributions.BaseDistribution]:
    """What is searched: the settings that are named, and for each stage with prompts to try these and what instructs it now."""
    found = {name: space for name, space in SPACE.items() if name in scaffold.search}
    for stage, files in scaffold.prompts.items():
        now = config.prompts[stage].file if stage in config.prompts else OWN_WORDS
        found[f"prompts.{stage}"] = optuna.distributions.CategoricalDistribution(list(dict.fromkeys([now, *(it.file for it in files)])))
    return found


def propose(config: AgentConfig, in_use: Settings, trials: Sequence[Trial], seed: int, scaffold: ScaffoldConfig) -> Settings:
    """The settings of the next trial; the first one is what is in use, all others are measured against it."""
    if not trials:
        return in_use
    space = space_of(config, scaffold)
    study = optuna.create_study(direction="maximize", sampler=_sampler(seed + len(trials)))
    for trial in trials:
        agent = agent_with(config, trial.settings, scaffold)
        params = {name: _inside(_value(agent, name), space[name]) for name in space}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=worth(trial, trials[0], scaffold.token_price)))
    asked: Settings = study.ask(space).params
    return in_use | asked


def worth(trial: Trial, first: Trial, token_price: float) -> float:
    """What a trial is worth beside the first one: the share solved, less what its tokens cost."""
    return trial.solved - token_price * (_tokens(trial, first) - 1.0)


def best(trials: Sequence[Trial], number: int, token_price: float) -> tuple[Decision, Trial]:
    """The trial that is worth most, the earlier one of two alike, and why in words."""
    first = trials[0]
    chosen = max(trials, key=lambda trial: worth(trial, first, token_price))
    others = "; ".join(
        f"trial {at} {trial.solved:.0%} at {_times(trial, first)}" for at, trial in enumerate(trials[1:], start=2) if trial is not chosen
    )
    price = f"; twice the tokens must bring {token_price * 100:g} points" if token_price else ""
    beside = f" ({others}{price})" if others else ""
    if chosen is first:
        why = (
            f"what is in use solved {first.solved:.0%}, and none of {len(trials) - 1} other settings was worth more on the same training "
            f"tasks{beside}"
        )
        return Decision(round=number, name="scaffold", choice="as it is", why=why), chosen
    changed = {name: value for name, value in chosen.settings.items() if first.settings.get(name) != value}
    why = (
        f"of {len(trials)} settings these solved {chosen.solved:.0%} of the same training tasks, what is in use {first.solved:.0%}, "
        f"at {_times(chosen, first)} its tokens{beside}"
    )
    figures = {"solved": chosen.solved, "before": first.solved, "tokens": chosen.tokens, "trials": float(len(trials))}
    return Decision(round=number, name="scaffold", choice=in_words(changed), why=why, figures=figures), chosen


def agent_with(config: AgentConfig, settings: Settings, scaffold: ScaffoldConfig) -> AgentConfig:
    """The configured agent with other settings; judging more symbols than retrieval offers is cut to that.

    Raises `ConfigError` for a prompt that neither the agent nor the search is configured with.
    """
    changed = config.model_dump()
    for name, value in settings.items():
        key, _, stage = name.partition(".")
        if not stage:
            changed[key] = value
        elif key == "temperatures":
            changed[key] = {**changed[key], stage: value}
        else:
            changed[key] = {of: prompt for of, prompt in changed[key].items() if of != stage} | _named(config, scaffold, stage, str(value))
    made = AgentConfig.model_validate(changed)
    return made.model_copy(update={"judged": min(made.judged, made.candidates)})


def in_words(settings: Settings) -> str:
    """Settings as a person reads them."""
    own = "its own words"
    told = (f"{name}={(value or own) if isinstance(value, str) else format(value, 'g')}" for name, value in settings.items())
    return ", ".join(told) or "as configured"


def _tokens(trial: Trial, first: Trial) -> float:
    """A rollout's tokens, as a multiple of the first trial's."""
    return trial.tokens / max(1.0, first.tokens)


def _times(trial: Trial, first: Trial) -> str:
    return f"{_tokens(trial, first):.1f} times"


def _named(config: AgentConfig, scaffold: ScaffoldConfig, stage: str, file: str) -> dict[str, dict[str, str]]:
    """The stage's prompt of that name; none for its own words."""
    if file == OWN_WORDS:
        return {}
    known = [*([config.prompts[stage]] if stage in config.prompts else []), *scaffold.prompts.get(stage, ())]
    prompt = next((prompt for prompt in known if prompt.file == file), None)
    if prompt is None:
        raise ConfigError(f"the rounds adopted the prompt {file} for {stage}, which is not configured; add it to rounds.scaffold.prompts")
    return {stage: prompt.model_dump()}


def _value(agent: AgentConfig, name: str) -> float | str:
    key, _, stage = name.partition(".")
    if key == "prompts":
        return agent.prompts[stage].file if stage in agent.prompts else OWN_WORDS
    value: float = agent.temperatures.get(stage, agent.retry_temperature) if stage else getattr(agent, name)
    return value


def _inside(value: float | str, space: optuna.distributions.BaseDistribution) -> float | str:
    """The same value, moved into the space where a configuration lies outside of it."""
    if isinstance(space, optuna.distributions.IntDistribution | optuna.distributions.FloatDistribution):
        assert not isinstance(value, str)
        inside: float = min(max(value, space.low), space.high)
        return inside
    assert isinstance(space, optuna.distributions.CategoricalDistribution)
    return value if value in space.choices else str(space.choices[0])


def _sampler(seed: int) -> optuna.samplers.TPESampler:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=5, multivariate=True)
