"""What a solved task cost: everything that a step spent, what failed counted in, over what it solved."""

from __future__ import annotations

from collections.abc import Iterable

from forge.records import Outcome, Record, Trajectory


class StepCost(Record):
    """What the rollouts of one step came to. Seconds add up over rollouts, which run beside each other: they are no wall time."""

    step: str
    rollouts: int
    solved: int
    tokens: int
    """Of prompts and answers."""
    seconds: float
    """From a rollout's start to its graded end, retries and waiting for the model and for boxes included."""
    model_s: float
    """Seconds of all calls of the model; several of one rollout may be under way at once."""
    box_s: float
    """Container-seconds: how long boxes were open, those that graded included."""

    def per_solve(self, total: float) -> float | None:
        """Share of one solve; `None` when nothing was solved."""
        return total / self.solved if self.solved else None


def step_cost(step: str, trajectories: Iterable[Trajectory]) -> StepCost:
    """The cost of a step with these trajectories."""
    items = list(trajectories)
    return StepCost(
        step=step,
        rollouts=len(items),
        solved=sum(item.outcome is Outcome.SOLVED for item in items),
        tokens=sum(item.tokens for item in items),
        seconds=sum(item.seconds for item in items),
        model_s=sum(turn.seconds for item in items for turn in item.turns),
        box_s=sum(item.box_s for item in items),
    )
