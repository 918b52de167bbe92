"""What rounds come to."""

from __future__ import annotations

from forge.records.base import Record
from forge.records.rounds import Decision, RoundPlan


class Interval(Record):
    """A two-sided 95 % interval of a proportion."""

    low: float
    high: float


class StepReport(Record):
    """One evaluated step of the loop on the held-out tasks."""

    name: str
    round: int
    pass_at_1: float
    ci95: Interval
    solved: int
    tasks: int
    promoted: bool
    paired_p: float | None = None
    """Two-sided exact McNemar p against the step that was promoted before it."""
    outcomes: dict[str, int] = {}
    stage_scores: dict[str, float] = {}


class RoundReport(Record):
    """What one round did: examples a stage, rollouts by outcome, the evaluated step, the decision."""

    round: int
    name: str
    examples: dict[str, int]
    collected: dict[str, int] = {}
    dropped: dict[str, int] = {}
    step: StepReport | None
    """`None` for a round that ended before it trained anything."""
    decision: str
    decisions: tuple[Decision, ...] = ()
    """Everything that was decided in this round, in order, with the evidence."""
    plan: RoundPlan | None = None
    adapters: dict[str, str]
    """Model id of the promoted adapter per stage after this round."""
    agent: dict[str, float | str] = {}
    """Settings of the agent that deviate from the configuration after this round."""
    seconds: float = 0.0
    tokens: int = 0
    """Prompt and answer tokens of the round's rollouts."""
