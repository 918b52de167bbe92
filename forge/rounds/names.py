"""Names under which the ledger keeps the rollouts of a round."""

from __future__ import annotations


def collecting(number: int) -> tuple[str, str]:
    """A round's own rollouts of training tasks: the probe, and the rest."""
    return f"probe-{number - 1}", f"collect-{number - 1}"


def teaching(number: int) -> str:
    """A round's rollouts of training tasks by the teacher."""
    return f"teach-{number - 1}"


def trying(number: int, trial: int) -> str:
    """A round's rollouts of training tasks with one trial's settings of the agent."""
    return f"try-{number - 1}-{trial}"


def evaluating(name: str) -> str:
    """The greedy rollouts of held-out and transfer tasks that an evaluated step is made of."""
    return f"evaluate-{name}"


WEIGHTS_ALONE, SETTINGS_ALONE = "weights-alone", "settings-alone"
"""Evaluated when the rounds are over: the promoted adapters with the configured agent, and the first adapters with the adopted one."""


def second_look(name: str) -> str:
    """Further, sampled rollouts of held-out tasks by an evaluated step's adapters."""
    return f"again-{name}"


def choosing(name: str) -> str:
    """Several answers to each held-out task by the adapters that were promoted after an evaluated step."""
    return f"choose-{name}"
