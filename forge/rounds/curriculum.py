"""Which training tasks are sampled, and how often: those that teach most, neither solved always nor never.

A round probes every task that is neither retired nor waiting a few times, then shares out the rest of its samples by what the probe
said (DeepSWE and R2E-Gym keep partly solved tasks; so does LADDER, arXiv 2503.00735).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forge.config import RoundsConfig
from forge.records import Allocation, Decision, RoundPlan
from forge.rounds.past import Tally


def probes(
    tasks: Sequence[str], tallies: Mapping[int, Mapping[str, Tally]], plan: RoundPlan, rounds: RoundsConfig, *, retiring: bool = True
) -> Allocation:
    """The probe of a round: `plan.probe` samples of each of the tasks taken on so far that is neither retired nor waiting.

    Nothing is retired unless `retiring`: where a stage has yet to show what it answers by itself, tasks that the others solve surely
    are where it can.
    """
    before = {number: found for number, found in tallies.items() if number < plan.round}
    retired = [task for task in tasks if retiring and is_retired(task, before, rounds.retire)]
    waiting = [task for task in tasks if is_waiting(task, before, plan.round, rounds.patience)]
    away = {*retired, *waiting}
    return Allocation(samples={task: plan.probe for task in tasks if task not in away}, retired=tuple(retired), waiting=tuple(waiting))


def rest(probed: Allocation, found: Mapping[str, Tally], plan: RoundPlan) -> tuple[Decision, Allocation]:
    """Total samples of each probed task: what the probe left of `plan.samples` a task goes to tasks solved sometimes, in turns and
    up to twice `plan.samples` each; what they cannot take, to those not solved yet, up to `plan.samples`. Solved always: no more."""
    total = dict(probed.samples)
    left = len(total) * plan.samples - sum(total.values())
    kinds: dict[str, list[str]] = {"always": [], "sometimes": [], "never": []}
    for task in total:
        counted = found.get(task, Tally(solved=0, graded=0))
        kinds["never" if not counted.solved else "always" if counted.solved == counted.graded else "sometimes"].append(task)
    left = _share_out(total, kinds["sometimes"], left, 2 * plan.samples)
    _share_out(total, kinds["never"], left, plan.samples)
    figures = {name: float(len(of_kind)) for name, of_kind in kinds.items()}
    figures |= {"retired": float(len(probed.retired)), "waiting": float(len(probed.waiting)), "samples": float(sum(total.values()))}
    why = (
        f"of {len(total)} tasks probed {plan.probe} times, {len(kinds['always'])} were solved always, {len(kinds['sometimes'])} sometimes, "
        f"{len(kinds['never'])} never; {len(probed.retired)} are retired, {len(probed.waiting)} wait"
    )
    decision = Decision(round=plan.round, name="curriculum", choice=f"{sum(total.values())} samples", why=why, figures=figures)
    return decision, probed.model_copy(update={"samples": total})


def is_retired(task: str, tallies: Mapping[int, Mapping[str, Tally]], share: float) -> bool:
    """Whether at least `share` of a task's samples were solved in the last round that sampled it."""
    last = max((number for number, found in tallies.items() if task in found), default=None)
    return last is not None and tallies[last][task].solved >= share * tallies[last][task].graded


def is_waiting(task: str, tallies: Mapping[int, Mapping[str, Tally]], now: int, patience: int) -> bool:
    """Whether a task went unsolved in its last `patience` rounds, the last of them less than `patience` rounds ago."""
    sampled = sorted(number for number, found in tallies.items() if task in found)
    recent = sampled[-patience:]
    unsolved = len(recent) == patience and not any(tallies[number][task].solved for number in recent)
    return unsolved and now - recent[-1] <= patience


def _share_out(total: dict[str, int], tasks: Sequence[str], left: int, most: int) -> int:
    """Give samples one by one in turns; returns what is left over."""
    while left > 0:
        open_ones = [task for task in tasks if total[task] < most]
        if not open_ones:
            break
        for task in open_ones[:left]:
            total[task] += 1
        left -= min(left, len(open_ones))
    return left
