"""What is decided between rounds, and on what evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from forge.records.base import Record

RoundKind = Literal["cold-start", "rft", "dpo", "teacher", "scaffold", "stop"]
"""Where a round's rows come from: mined commits, own successes, pairs of a success and a failure, a teacher's successes. A `scaffold`
round trains nothing and searches the agent's own settings; `stop` is no round."""

DOING: Mapping[RoundKind, str] = {
    "cold-start": "train every stage on mined commits",
    "rft": "sample {tasks} training tasks{easier} {samples} times each{probe}, train on what was solved",
    "dpo": "train on pairs of a solved and a failed answer, from the promoted adapters on",
    "teacher": "let the teacher act{stages} on {tasks} training tasks, train on what it solved",
    "scaffold": "try {samples} settings of the agent on {tasks} training tasks, train nothing",
    "stop": "nothing more",
}


class Decision(Record):
    """One decision of the loop; recorded before it is acted on, so that a restart acts on the same one."""

    round: int
    name: str
    """What was decided: `plan`, `curriculum`, `bootstrap`, `gate`, …; one of each a round."""
    choice: str
    """What was chosen, in a word or two."""
    why: str
    """The evidence, in a sentence."""
    figures: dict[str, float] = {}
    """The numbers that the sentence rests on."""


EASIER = "easier-"
"""What the ids of tasks that were made easier on purpose begin with."""


class Easier(Record):
    """A batch of training tasks with one bug each that are easier than those there are."""

    round: int
    """The round that asks for it."""
    count: int
    operators: tuple[str, ...] = ()
    """Kinds of bug to plant, those solved most first; any where none is known."""
    near: tuple[str, ...] = ()
    """Modules (`repository:path`) that come first: those of tasks never solved."""
    failing: float = 0.0
    """Least share of a module's tests that a bug fails, so that it is seen."""


class RoundPlan(Record):
    """What a round will do, before it does it."""

    round: int
    kind: RoundKind
    tasks: int = 0
    """Training tasks taken on so far: the first so many, in the order in which they were proven."""
    probe: int = 0
    """Samples of each task before the rest are shared out."""
    samples: int = 0
    """Samples a task on average."""
    temperature: float = 0.0
    taught: tuple[str, ...] = ()
    """Stages that the teacher acts for in its round; none named means all."""
    easier: Easier | None = None
    """A batch of easier tasks that the round takes on beside its `tasks`, and that stays with the later ones."""
    lever: str = ""
    """What was changed because the rounds before gained nothing; empty where nothing had to be."""

    @property
    def name(self) -> str:
        """`rft-2`: the second round after the cold start."""
        return self.kind if self.round <= 1 else f"{self.kind}-{self.round - 1}"

    @property
    def doing(self) -> str:
        """What the round does, in a clause."""
        probe = f" ({self.probe} as a probe)" if self.probe < self.samples else ""
        easier = f", and up to {self.easier.count} easier ones made for it" if self.easier else ""
        stages = f" as {' and '.join(self.taught)}" if self.taught else ""
        return DOING[self.kind].format(tasks=self.tasks, samples=self.samples, probe=probe, stages=stages, easier=easier) + (
            f", pulling a lever: {self.lever}" if self.lever else ""
        )


class Allocation(Record):
    """How many samples each training task gets in one part of a round, and which tasks get none, by reason."""

    samples: dict[str, int]
    retired: tuple[str, ...] = ()
    """Solved so surely that they teach nothing more; their successes stay in the rows."""
    waiting: tuple[str, ...] = ()
    """Never solved in their last rounds; they come back later."""


class Spent(Record):
    """What a run has cost so far."""

    wall_s: float = 0.0
    tokens: int = 0
    """Of the agent's own models, prompts and answers."""
    gpu_hours: float = 0.0
    money: float = 0.0
    """GPU hours and a teacher's tokens at the configured prices."""
