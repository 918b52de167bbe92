"""What a stage is, and the records that it reads: `Situation`, `Change`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol

from forge.records import Example, Lineage, Message, Record, Symbol, Task, Trajectory, Turn

PromptStyle = Literal["brief", "full", "explained"]
"""`full` instructs in words, plans line by line and edits line by line. `explained` is `full`, but analysis and planning say why
before they answer. `brief` is for very small models: the stage's name alone instructs, plans name symbols alone, and an edit
replaces a symbol as a whole (docs/decisions/0007)."""


class LoraDefaults(Record):
    """Hyper-parameters of a stage's adapter.

    Rank 16 with alpha twice the rank on all linears, 2e-4: QLoRA (arXiv 2305.14314) and PLoRA
    (arXiv 2508.02932); generation takes rank 32 because edits need more capacity than judgements.
    """

    rank: int = 16
    learning_rate: float = 2e-4
    epochs: float = 3.0
    max_answer_tokens: int = 64
    explanation_tokens: int = 0
    """What an answer may have beside these in style `explained`."""


class Hunk(Record):
    """One changed place: the lines taken out and put in (without line ends), inside `symbol` when there is one."""

    path: str
    symbol: str = ""
    old: tuple[str, ...]
    new: tuple[str, ...]


class Explanation(Record):
    """Why a change is the right one, each part on a line of its own, in a teacher's words."""

    analysis: str
    """Which symbols the request is about, and what in it tells so."""
    plan: str
    """What is wrong with them, and what to do about it."""


class Change(Record):
    """A mined commit as the stages see it: what was asked, what was touched, what was not."""

    statement: str
    touched: tuple[Symbol, ...]
    """Touched symbols as they were before the commit."""
    after: tuple[Symbol, ...]
    """The same symbols after it, in the same order."""
    others: tuple[Symbol, ...]
    """Symbols of the same tree that retrieval offers but the commit leaves alone, to judge beside the touched ones."""
    offered: tuple[Symbol, ...]
    """What retrieval offers for the statement, best first; touched symbols that it missed come last."""
    hunks: tuple[Hunk, ...]
    wrong: tuple[tuple[Hunk, ...], ...] = ()
    """Wrong edits of the same symbols, each as an attempt might make it, for review and repairs to learn from."""
    incomplete: tuple[tuple[Hunk, ...], ...] = ()
    """First parts of the right edit, each without the rest that it takes, for review to learn from."""
    explanation: Explanation | None = None
    """Where a teacher gave one, what analysis and planning learn to say in style `explained`."""
    lineage: Lineage

    def told_in(self, style: PromptStyle) -> PromptStyle:
        """The style of this change's rows: nobody learns to explain what nobody has explained."""
        return "full" if style == "explained" and self.explanation is None else style

    def rejections(self) -> Iterator[tuple[Hunk, ...]]:
        """What an agent has been refused before it finds the right edit: nothing, one wrong attempt, two, …"""
        for count in range(len(self.wrong) + 1):
            yield tuple(hunk for attempt in self.wrong[:count] for hunk in attempt)


class Situation(Record):
    """What the agent knows when it asks a stage."""

    statement: str
    candidates: tuple[Symbol, ...] = ()
    symbols: tuple[Symbol, ...] = ()
    plan: str = ""
    hunks: tuple[Hunk, ...] = ()
    tests: str = ""
    rejected: tuple[Hunk, ...] = ()


class Stage(Protocol):
    """One stage: pure functions from what is known to text, and from text to what follows."""

    name: str
    judgement: bool
    """The answer is one token, yes or no, and its score the probability of yes."""
    defaults: LoraDefaults

    def prompt(self, situation: Situation, style: PromptStyle = "full") -> tuple[Message, ...]:
        """System and user message."""

    def from_change(self, change: Change, style: PromptStyle = "full") -> Iterator[Example]:
        """Cold-start examples that a mined change teaches."""

    def from_trajectory(self, trajectory: Trajectory, task: Task) -> Iterator[Example]:
        """Token-exact examples that a graded trajectory teaches."""


def messages(name: str, instructions: str, style: PromptStyle, *sections: tuple[str, str]) -> tuple[Message, ...]:
    """System and user message; each section is `# title` and its text, empty ones left out."""
    system = name if style == "brief" else f"{instructions}\n\nStage: {name}."
    user = "\n".join(f"# {title}\n{text.rstrip()}" for title, text in sections if text.strip())
    return Message(role="system", content=system), Message(role="user", content=user)


def instructed(prompt: tuple[Message, ...], stage: str, instructions: str) -> tuple[Message, ...]:
    """A stage's prompt with other instructions in place of its own; as it is where there are none."""
    if not instructions:
        return prompt
    system = Message(role="system", content=f"{instructions}\n\nStage: {stage}.")
    return system, *(message for message in prompt if message.role != "system")


def because(reason: str, answer: str) -> str:
    """An answer of style `explained`. The parsers of analysis and planning read nothing in the line that says why."""
    return f"why: {reason}\n{answer}"


def mending(prompt: tuple[Message, ...], answer: str, refusal: str) -> tuple[Message, ...]:
    """The prompt that asks again after an answer that the parser refused, whose own sentence is shown."""
    said = Message(role="assistant", content=answer)
    return (*prompt, said, Message(role="user", content=f"# refused\n{refusal}\nAnswer again, in the form that was asked for."))


def example(stage: str, prompt: tuple[Message, ...], completion: str, lineage: Lineage) -> Example:
    """A text row."""
    return Example(stage=stage, messages=prompt, completion=completion, lineage=lineage)


def example_from_turn(turn: Turn, trajectory: Trajectory, task: Task, completion_ids: tuple[int, ...] = (), text: str = "") -> Example:
    """A token-exact row of a turn; `completion_ids` and `text` replace the sampled answer (a corrected judgement)."""
    lineage = Lineage(
        repo=task.repo, commit=task.commit, task_id=task.id, trajectory_id=trajectory.id, round=trajectory.round, files=task.files
    )
    return Example(
        stage=turn.stage,
        messages=turn.messages,
        completion=text or turn.text,
        prompt_ids=turn.prompt_ids,
        completion_ids=completion_ids or turn.completion_ids,
        lineage=lineage,
    )


def in_hindsight(trajectory: Trajectory, task: Task, stage: str) -> Iterator[Example]:
    """The answers that led to what was handed in, under the prompts that they were made for, and under the first prompt too
    where they are a repair or were mended: with the same symbols and plan shown there, they would have been right at once."""
    turns = final_turns(trajectory, stage)
    for turn in turns:
        yield example_from_turn(turn, trajectory, task)
    first = next((turn for turn in trajectory.turns if turn.stage == stage), None)
    if first is None or not turns or first is turns[0]:
        return
    if first.attempt == turns[0].attempt or _asked_for(first) == _asked_for(turns[0]):
        yield example_from_turn(first, trajectory, task, turns[0].completion_ids, turns[0].text)


def _asked_for(turn: Turn) -> tuple[str, str]:
    """The symbols that a turn is about, and the plan that its prompt shows, if any."""
    prompt = next((message.content for message in turn.messages if message.role == "user"), "")
    return turn.subject, prompt.partition("\n# plan\n")[2]


def handed_in(trajectory: Trajectory) -> int | None:
    """The number of the attempt whose edits were handed in and graded: the first of those that review thought best of, which need not
    be the last one. `None` where review saw none."""
    seen = [turn for turn in trajectory.turns if turn.stage == "review" and turn.score is not None]
    return max(seen, key=lambda turn: turn.score or 0.0).attempt if seen else None


def final_turns(trajectory: Trajectory, stage: str) -> list[Turn]:
    """The parsed turns of a stage that led to the edits handed in: those of that attempt, or of the last one before it that asked the
    stage. Where nothing was handed in, those of the last attempt."""
    graded = handed_in(trajectory)
    turns = [turn for turn in trajectory.turns if turn.stage == stage and turn.parsed and (graded is None or turn.attempt <= graded)]
    last = max((turn.attempt for turn in turns), default=0)
    return [turn for turn in turns if turn.attempt == last]


def format_hunks(hunks: tuple[Hunk, ...]) -> str:
    """Hunks as a reader of diffs expects them: `path`, then `-` and `+` lines."""
    parts = []
    for hunk in hunks:
        parts.append(hunk.symbol or hunk.path)
        parts += [f"-{line}" for line in hunk.old] + [f"+{line}" for line in hunk.new]
    return "\n".join(parts)


def format_symbols(symbols: tuple[Symbol, ...]) -> str:
    """Each symbol's number, key and source; answers name symbols by number, which even a small model copies well."""
    return "\n".join(f"{number} {symbol.key}\n{symbol.source.rstrip()}" for number, symbol in enumerate(symbols, 1))
