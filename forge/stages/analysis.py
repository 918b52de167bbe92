"""Analysis: which of the symbols that lexical retrieval offers does the issue ask to change?

Candidates are shown in retrieval's order. Answer: the number of one candidate a line, in style `explained` after a line that
says why. When the model answers nonsense, that order stands.
"""

from __future__ import annotations

from collections.abc import Iterator

from forge.errors import StageError
from forge.records import Example, Message, Symbol, Task, Trajectory
from forge.stages.grammar import WHY, one_of
from forge.stages.stage import Change, LoraDefaults, PromptStyle, Situation, because, example, example_from_turn, final_turns, messages

INSTRUCTIONS = (
    "You analyse an issue of a repository. From the candidate symbols, name those that must be changed to "
    "resolve it, the likeliest first. Answer with their numbers, one a line, and nothing else."
)
EXPLAINED = (
    f"{INSTRUCTIONS.removesuffix(', and nothing else.')}. Before them write one line, 'why: ' and in a few sentences what in the "
    "issue tells which symbols it is about."
)


class Analysis:
    name = "analysis"
    judgement = False
    defaults = LoraDefaults(max_answer_tokens=48, explanation_tokens=320)

    def prompt(self, situation: Situation, style: PromptStyle = "full") -> tuple[Message, ...]:
        candidates = "\n".join(f"{number} {s.path}::{s.signature}" for number, s in enumerate(situation.candidates, 1))
        instructions = EXPLAINED if style == "explained" else INSTRUCTIONS
        return messages(self.name, instructions, style, ("issue", situation.statement), ("candidates", candidates))

    def grammar(self, situation: Situation, style: PromptStyle = "full") -> str:
        """Numbers of candidates, one a line, no more of them than there are candidates."""
        count = len(situation.candidates)
        number = one_of(str(place) for place in range(1, count + 1))
        why = f"{WHY} " if style == "explained" else ""
        return f'root ::= {why}number ("\\n" number){{0,{count - 1}}}\nnumber ::= {number}' if count else ""

    def parse(self, text: str, candidates: tuple[Symbol, ...]) -> list[Symbol]:
        """The named candidates in the answer's order; raises `StageError` when none is named."""
        by_number = {str(number): symbol for number, symbol in enumerate(candidates, 1)}
        named = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip() in by_number))
        if not named:
            raise StageError("analysis names none of the candidates")
        return [by_number[number] for number in named]

    def from_change(self, change: Change, style: PromptStyle = "full") -> Iterator[Example]:
        style = change.told_in(style)
        prompt = self.prompt(Situation(statement=change.statement, candidates=change.offered), style)
        keys = [symbol.key for symbol in change.offered]
        answer = "\n".join(str(keys.index(symbol.key) + 1) for symbol in change.touched)
        if style == "explained" and change.explanation:
            answer = because(change.explanation.analysis, answer)
        yield example(self.name, prompt, answer, change.lineage)

    def from_trajectory(self, trajectory: Trajectory, task: Task) -> Iterator[Example]:
        touched = {edit.path for edit in trajectory.edits}
        for turn in final_turns(trajectory, self.name):
            if any(key.split("::")[0] in touched for key in turn.subject.splitlines()):
                yield example_from_turn(turn, trajectory, task)


STAGE = Analysis()
