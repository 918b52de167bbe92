"""Where a gain came from: weights and the agent's own settings, each alone and both together, on the same held-out tasks."""

from __future__ import annotations

from collections.abc import Mapping

from forge.evals.intervals import wilson
from forge.evals.paired import Paired, compare
from forge.records import Interval, Record

Results = Mapping[str, bool]
"""Whether each task was solved."""
SIGNIFICANT = 0.05


class Arm(Record):
    """One pairing of weights and settings."""

    solved: int
    tasks: int
    ci95: Interval
    against_neither: Paired | None = None
    """Against the first adapters with the configured settings."""


class Levers(Record):
    """The four pairings, over the tasks that all have a result for."""

    neither: Arm
    weights: Arm
    settings: Arm
    both: Arm
    together: float
    """What both bring beyond the sum of what each brings alone, in share of tasks: above 0 they help each other."""
    verdict: str


def levers(neither: Results, weights: Results, settings: Results, both: Results) -> Levers:
    """The comparison; raises `ValueError` when the four have no task in common."""
    tasks = neither.keys() & weights.keys() & settings.keys() & both.keys()
    if not tasks:
        raise ValueError("the four pairings have no task in common")
    arms = {name: {t: found[t] for t in tasks} for name, found in (("weights", weights), ("settings", settings), ("both", both))}
    first = {task: neither[task] for task in tasks}
    alone = _arm(first)
    made = {name: _arm(found).model_copy(update={"against_neither": compare(first, found)}) for name, found in arms.items()}
    gains = {name: (arm.solved - alone.solved) / len(tasks) for name, arm in made.items()}
    return Levers(
        neither=alone,
        **made,
        together=gains["both"] - gains["weights"] - gains["settings"],
        verdict=_verdict(made, compare(arms["weights"], arms["both"]), compare(arms["settings"], arms["both"])),
    )


def _arm(found: Results) -> Arm:
    solved = sum(found.values())
    return Arm(solved=solved, tasks=len(found), ci95=wilson(solved, len(found)))


def _verdict(made: Mapping[str, Arm], over_weights: Paired, over_settings: Paired) -> str:
    """One sentence that claims no more than the paired tests allow."""
    proven = [name for name in ("weights", "settings") if _better(made[name].against_neither)]
    said = {
        (): "neither the weights nor the settings alone are proven to help",
        ("weights",): "the weights help alone, the settings are not proven to",
        ("settings",): "the settings help alone, the weights are not proven to",
        ("weights", "settings"): "weights and settings each help alone",
    }[tuple(proven)]
    unproven = [name for name, paired in (("weights", over_weights), ("settings", over_settings)) if not _better(paired)]
    rest = f"not proven better than the {' or the '.join(unproven)} alone" if unproven else "better than either alone"
    return f"{said}; both together are {rest}"


def _better(paired: Paired | None) -> bool:
    return paired is not None and paired.gained > paired.lost and paired.p < SIGNIFICANT
