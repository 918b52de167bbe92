"""Generation: SEARCH/REPLACE edits that carry out the plan (see `forge.stages.edits`)."""

from __future__ import annotations

from collections.abc import Iterator

from forge.records import Example, Message, Task, Trajectory
from forge.stages.edits import DIVIDER, REPLACE, SEARCH, format_edits
from forge.stages.planning import plan_of
from forge.stages.stage import (
    Change,
    LoraDefaults,
    PromptStyle,
    Situation,
    example,
    example_from_turn,
    final_turns,
    format_hunks,
    format_symbols,
    messages,
)

INSTRUCTIONS = (
    "You carry out a plan in a Python repository. Answer with edits only, each written as the symbol's number (or a file's path) "
    f"on a line of its own, '{SEARCH}', the lines to replace exactly as they stand, '{DIVIDER}', the new lines, '{REPLACE}'."
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
        for rejected in [(), change.broken] if change.broken else [()]:
            situation = Situation(
                statement=change.statement, symbols=change.touched, plan=plan_of(change.hunks, change.touched), rejected=rejected
            )
            yield example(self.name, self.prompt(situation, style), format_edits(change.hunks, change.touched), change.lineage)

    def from_trajectory(self, trajectory: Trajectory, task: Task) -> Iterator[Example]:
        for turn in final_turns(trajectory, self.name):
            yield example_from_turn(turn, trajectory, task)


STAGE = Generation()
