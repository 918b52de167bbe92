"""Planning: where exactly, and what kind of change.

Answer, for each place: `edit` and the number of the symbol, `line: …` (the line as it stands), `change: …` (the kind,
then the token that goes, when it is one). Naming the token leaves generation one decision: what comes in its place.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from forge.errors import StageError
from forge.records import Example, Message, Record, Symbol, Task, Trajectory
from forge.stages.stage import (
    Change,
    Hunk,
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

KINDS = ("comparison", "operator", "number", "name", "call", "condition", "value", "insert", "delete", "rewrite")

INSTRUCTIONS = (
    "You plan a minimal change to a Python repository that resolves an issue. For every place, answer with three lines: "
    "'edit ' and the symbol's number, 'line: ' and the line to change as it stands, 'change: ' and one of " + ", ".join(KINDS) + ", "
    "followed by the token that goes when it is a single one."
)


class PlanStep(Record):
    """One place to change."""

    symbol: str
    line: str
    kind: str


class Planning:
    name = "planning"
    judgement = False
    defaults = LoraDefaults(max_answer_tokens=64)

    def prompt(self, situation: Situation, style: PromptStyle = "full") -> tuple[Message, ...]:
        return messages(
            self.name,
            INSTRUCTIONS,
            style,
            ("issue", situation.statement),
            ("symbol", format_symbols(situation.symbols)),
            ("rejected", format_hunks(situation.rejected)),
        )

    def parse(self, text: str, symbols: tuple[Symbol, ...]) -> list[PlanStep]:
        """The plan's steps; raises `StageError` when a symbol or line is not one that was shown."""
        by_number = {str(number): symbol for number, symbol in enumerate(symbols, 1)}
        found = re.findall(r"^edit (.+)\nline: (.*)\nchange: (\w+)(?: \S+)?$", text.strip(), re.MULTILINE)
        if not found:
            raise StageError("the plan has no 'edit / line / change' step")
        for number, line, _ in found:
            if number not in by_number:
                raise StageError(f"the plan edits symbol {number[:20]}, but {len(symbols)} were shown")
            if line.strip() not in {shown.strip() for shown in by_number[number].source.splitlines()}:
                raise StageError(f"the plan's line is not in {by_number[number].key}: {line.strip()[:80]}")
        return [PlanStep(symbol=by_number[number].key, line=line, kind=kind) for number, line, kind in found]

    def from_change(self, change: Change, style: PromptStyle = "full") -> Iterator[Example]:
        plan = plan_of(change.hunks, change.touched)
        for rejected in [(), change.broken] if change.broken else [()]:
            if not plan:
                return  # everything that changed lies outside functions
            prompt = self.prompt(Situation(statement=change.statement, symbols=change.touched, rejected=rejected), style)
            yield example(self.name, prompt, plan, change.lineage)

    def from_trajectory(self, trajectory: Trajectory, task: Task) -> Iterator[Example]:
        for turn in final_turns(trajectory, self.name):
            yield example_from_turn(turn, trajectory, task)


def plan_of(hunks: tuple[Hunk, ...], symbols: tuple[Symbol, ...]) -> str:
    """The plan that these hunks carry out, as far as they lie in `symbols`."""
    numbers = {symbol.key: number for number, symbol in enumerate(symbols, 1)}
    inside = [hunk for hunk in hunks if hunk.symbol in numbers]
    return "\n".join(f"edit {numbers[h.symbol]}\nline: {_changed_line(h).strip()}\nchange: {_change_of(h)}" for h in inside)


def _change_of(hunk: Hunk) -> str:
    """The kind, and the token that goes if the change takes out tokens of one line."""
    kind = kind_of(hunk)
    gone = [] if kind in ("insert", "delete", "rewrite") else _tokens_changed(hunk)[0]
    return f"{kind} {gone[0]}" if gone else kind


def kind_of(hunk: Hunk) -> str:
    """The kind of a change, read off the tokens that differ between its old and new lines."""
    if len(hunk.new) > len(hunk.old):
        return "insert"
    if len(hunk.new) < len(hunk.old):
        return "delete"
    if len(hunk.old) > 1 and sum(a != b for a, b in zip(hunk.old, hunk.new, strict=True)) > 1:
        return "rewrite"
    gone, come = _tokens_changed(hunk)
    tokens = gone + come
    if any(token in ("<", ">", "<=", ">=", "==", "!=") for token in tokens):
        return "comparison"
    if any(token in ("not", "and", "or", "is", "in") for token in tokens):
        return "condition"
    if any(re.fullmatch(r"\d+", token) for token in tokens):
        return "number"
    if any(re.fullmatch(r"[-+*/%]+=?", token) for token in tokens):
        return "operator"
    if tokens and all(re.fullmatch(r"\w+", token) for token in tokens):
        new = _tokens(hunk.new)
        after = new[new.index(come[-1]) + 1 : new.index(come[-1]) + 2] if come else []
        return "call" if after and after[0].startswith("(") else "name"
    return "value"


def _tokens_changed(hunk: Hunk) -> tuple[list[str], list[str]]:
    return _difference(_tokens(hunk.old), _tokens(hunk.new))


def _tokens(lines: tuple[str, ...]) -> list[str]:
    return re.findall(r"\w+|[^\w\s]+", "\n".join(lines))


def _changed_line(hunk: Hunk) -> str:
    """The first old line that is not kept; of a pure insertion, the line that it follows."""
    for old in hunk.old:
        if old not in hunk.new:
            return old
    return hunk.old[0]


def _difference(old: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    gone: list[str] = []
    come: list[str] = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            gone += old[a:b]
            come += new[c:d]
    return gone, come


STAGE = Planning()
