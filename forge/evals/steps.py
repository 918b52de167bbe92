"""One evaluated step of the loop: what its greedy rollouts on the held-out tasks say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from forge.evals.intervals import wilson
from forge.evals.paired import compare
from forge.evals.stage_scores import Truth, stage_scores
from forge.records import Outcome, StepReport, Trajectory


def solved_by_task(trajectories: Iterable[Trajectory]) -> dict[str, bool]:
    """Whether each task was solved. Infrastructure errors are masked; an agent error is a task not solved.

    Raises `ValueError` when a task has two results: pass@1 is of one greedy sample.
    """
    found: dict[str, bool] = {}
    for item in trajectories:
        if item.outcome is Outcome.INFRA_ERROR:
            continue
        if item.task_id in found:
            raise ValueError(f"task {item.task_id} has two results in step {item.step}")
        found[item.task_id] = item.outcome is Outcome.SOLVED
    return found


def outcomes(trajectories: Iterable[Trajectory]) -> dict[str, int]:
    """Number of rollouts by outcome, every outcome named."""
    counted = Counter(item.outcome.value for item in trajectories)
    return {outcome.value: counted[outcome.value] for outcome in Outcome}


def step_report(
    name: str,
    round_number: int,
    trajectories: Sequence[Trajectory],
    *,
    promoted: bool,
    truths: Mapping[str, Truth] | None = None,
    before: Mapping[str, bool] | None = None,
) -> StepReport:
    """The report of one step; `before` are the results of the step promoted before it, for the paired test."""
    solved = solved_by_task(trajectories)
    wins = sum(solved.values())
    return StepReport(
        name=name,
        round=round_number,
        pass_at_1=wins / len(solved) if solved else 0.0,
        ci95=wilson(wins, len(solved)),
        solved=wins,
        tasks=len(solved),
        promoted=promoted,
        paired_p=compare(before, solved).p if before and before.keys() & solved.keys() else None,
        outcomes=outcomes(trajectories),
        stage_scores=stage_scores(trajectories, truths or {}),
    )
