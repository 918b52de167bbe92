"""Relevance: must this symbol be read or changed to resolve the issue? One token, yes or no."""

from __future__ import annotations

from collections.abc import Iterator

from forge.records import Example, Message, Task, Trajectory
from forge.stages.judgement import corrected
from forge.stages.stage import Change, LoraDefaults, PromptStyle, Situation, example, final_turns, format_symbols, messages

INSTRUCTIONS = "You judge whether a symbol of a repository must be changed to resolve an issue. Answer with one word, yes or no."


class Relevance:
    name = "relevance"
    judgement = True
    defaults = LoraDefaults(max_answer_tokens=1)

    def prompt(self, situation: Situation, style: PromptStyle = "full") -> tuple[Message, ...]:
        return messages(self.name, INSTRUCTIONS, style, ("issue", situation.statement), ("symbol", format_symbols(situation.symbols[:1])))

    def from_change(self, change: Change, style: PromptStyle = "full") -> Iterator[Example]:
        for symbols, answer in ((change.touched, "yes"), (change.others, "no")):
            for symbol in symbols:
                prompt = self.prompt(Situation(statement=change.statement, symbols=(symbol,)), style)
                yield example(self.name, prompt, answer, change.lineage)

    def from_trajectory(self, trajectory: Trajectory, task: Task) -> Iterator[Example]:
        """In a solved rollout the symbols of edited files are relevant; of the others one a trajectory is kept as no."""
        edited = {turn.subject for turn in final_turns(trajectory, "generation")}
        kept_no = False
        for turn in final_turns(trajectory, self.name):
            relevant = turn.subject in edited
            if relevant or not kept_no:
                kept_no = kept_no or not relevant
                yield corrected(turn, trajectory, task, relevant)


STAGE = Relevance()
