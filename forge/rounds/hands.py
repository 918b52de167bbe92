"""What a round needs done, and by whom does not matter: on Ray by `jobs/loop/phases.py`, in a made-up world by `forge/rounds/world.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from forge.evals.stage_scores import Truth
from forge.records import AdapterRef, Easier, Example, Preference, RoundPlan, Task, Trajectory
from forge.rollouts.rollout import Assignment

Rows = Mapping[str, Sequence[Example] | Sequence[Preference]]
"""What each stage is to be trained on."""


class Hands(Protocol):
    """Each method may be called again after a restart, and then does only what is still to do."""

    def side(self, side: str) -> Sequence[Task]:
        """The proven tasks of one side of the split, always in the same order; easier ones are the last of the training tasks."""

    def prove(self, tasks: int) -> None:
        """See to it that there are so many training tasks, as far as there are commits and bugs for them."""

    def ease(self, batches: Sequence[Easier]) -> None:
        """See to it that these batches of easier training tasks are there, each as far as there are places for such bugs.

        Their ids begin with `EASIER`."""

    def truths(self) -> Mapping[str, Truth]:
        """What the gold change of each held-out task touches, by task id."""

    def roll_out(self, step: str, number: int, assignments: Sequence[Assignment], what: str, candidates: Sequence[AdapterRef] = ()) -> None:
        """Have every assignment's trajectory in the ledger; the promoted adapters and `candidates` are served."""

    def train(self, plan: RoundPlan, rows: Rows) -> list[AdapterRef]:
        """Stored adapters of the stages whose rows teach something, from the frozen base; pairs are trained on by DPO."""

    def mined(self, stage: str) -> Sequence[Example]:
        """Cold-start rows of a stage."""

    def aligned(self) -> Sequence[Example]:
        """Generation rows that the base made and proved for itself, none of which shows anything held out; none where none are wanted."""

    def lent(self, trajectories: Sequence[Trajectory]) -> Sequence[Example]:
        """Rows for tasks without a success that another task's success provably solves."""

    def say(self, text: str) -> None:
        """Show a line to whoever watches."""
