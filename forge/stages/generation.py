"""Generation: SEARCH/REPLACE edits that carry out the plan (see `forge.stages.edits`)."""

from __future__ import annotations

from collections.abc import Iterator

from forge.records import Example, Message, Task, Trajectory
from forge.stages.edits import DIVIDER, REPLACE, SEARCH, WHOLE, format_edits, format_rewrites
from forge.stages.planning import plan_of
from forge.stages.stage import (
    Change,
    LoraDefaults,
    PromptStyle,
    Situation,
    example,
    format_hunks,
    format_symbols,
    in_hindsight,
    messages,
)

INSTRUCTIONS = (
    "You carry out a plan in a repository. Answer with edits only, each written as the symbol's number (or a file's path) "
    f"on a line of its own, '{SEARCH}', the lines to replace exactly as they stand ('{WHOLE}' for all of a numbered symbol), "
    f"'{DIVIDER}', the new lines, '{REPLACE}'."
)


class Generation:
    name = "generation"
    judgement = False
    defaults = LoraDefaults(rank=32, max_answer_tokens=128)

    def prompt(self, situation: Situation, style: PromptStyle = "full") -> tuple[Message, ...]:
        return messages(
            self.name,
            INSTRUCTIONS,
            style,
            ("issue", situation.statement),
            ("symbol", format_symbols(situation.symbols)),
            ("rejected", format_hunks(situation.rejected)),
            ("plan", situation.plan),
        )

    def from_change(self, change: Change, style: PromptStyle = "full") -> Iterator[Example]:
        """The edit at once, and after each number of wrong attempts."""
        plan = plan_of(change.hunks, change.touched, style)
        whole = style == "brief"
        edit = format_rewrites(change.after, change.touched) if whole else format_edits(change.hunks, change.touched)
        for rejected in change.rejections():
            situation = Situation(statement=change.statement, symbols=change.touched, plan=plan, rejected=rejected)
            yield example(self.name, self.prompt(situation, style), edit, change.lineage)

    def from_trajectory(self, trajectory: Trajectory, task: Task) -> Iterator[Example]:
        yield from in_hindsight(trajectory, task, self.name)


STAGE = Generation()
