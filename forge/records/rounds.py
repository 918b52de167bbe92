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
    "rft": "sample {tasks} training tasks {samples} times each{probe}, train on what was solved",
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
        stages = f" as {' and '.join(self.taught)}" if self.taught else ""
        return DOING[self.kind].format(tasks=self.tasks, samples=self.samples, probe=probe, stages=stages) + (
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
