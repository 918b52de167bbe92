"""Review: does this diff resolve the issue? One token, yes or no; the score decides whether to repair."""

from __future__ import annotations

from collections.abc import Iterator

from forge.records import Example, Message, Outcome, Symbol, Task, Trajectory
from forge.stages.judgement import corrected
from forge.stages.stage import (
    Change,
    Hunk,
    LoraDefaults,
    PromptStyle,
    Situation,
    example,
    final_turns,
    format_hunks,
    format_symbols,
    messages,
)

INSTRUCTIONS = (
    "You review a change to a repository. Shown are the issue, the symbol as it was, the diff and what the tests "
    "said. Answer with one word: yes when the change resolves the issue and breaks nothing, no otherwise."
)


class Review:
    name = "review"
    judgement = True
    defaults = LoraDefaults(max_answer_tokens=1)

    def prompt(self, situation: Situation, style: PromptStyle = "full") -> tuple[Message, ...]:
        return messages(
            self.name,
            INSTRUCTIONS,
            style,
            ("issue", situation.statement),
            ("symbol", format_symbols(situation.symbols)),
            ("diff", format_hunks(situation.hunks)),
            ("tests", situation.tests),
        )

    def from_change(self, change: Change, style: PromptStyle = "full") -> Iterator[Example]:
        """The commit's own diff is right; another edit of the same symbols and parts of the diff are wrong. Tests are not shown."""
        yield self._row(change.statement, change.touched, change.hunks, "yes", change, style)
        for hunks in (*change.wrong[:1], *change.incomplete):
            yield self._row(change.statement, change.touched, hunks, "no", change, style)

    def from_trajectory(self, trajectory: Trajectory, task: Task) -> Iterator[Example]:
        if trajectory.outcome in (Outcome.SOLVED, Outcome.FAILED):
            for turn in final_turns(trajectory, self.name):
                yield corrected(turn, trajectory, task, trajectory.outcome is Outcome.SOLVED)

    def _row(
        self, statement: str, symbols: tuple[Symbol, ...], hunks: tuple[Hunk, ...], answer: str, change: Change, style: PromptStyle
    ) -> Example:
        prompt = self.prompt(Situation(statement=statement, symbols=symbols, hunks=hunks), style)
        return example(self.name, prompt, answer, change.lineage)


STAGE = Review()
