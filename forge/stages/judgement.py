"""What the two yes/no stages share: token ids of the answers travel with the turn, so a label can be corrected."""

from __future__ import annotations

from forge.records import Example, Task, Trajectory, Turn
from forge.stages.stage import example_from_turn


def corrected(turn: Turn, trajectory: Trajectory, task: Task, label: bool) -> Example:
    """A token-exact row of a judgement with the answer that turned out to be true.

    `turn.choice_ids` are the ids of yes, no and the end token, as the endpoint used them.
    """
    yes, no, end = turn.choice_ids
    return example_from_turn(turn, trajectory, task, (yes if label else no, end), "yes" if label else "no")
