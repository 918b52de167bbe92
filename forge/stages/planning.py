"""Planning: where exactly, and what change.

Answer, for each place: `edit` and the number of the symbol, then, in full style, `line: …` (the line as it stands) and
`change: …` (what of the line goes and what comes when that is a few tokens, else the kind of change). In brief style
the numbers alone: a very small model that has to name the place before it writes the symbol anew decides too early. In style
`explained` a line that says why comes first; the steps alone are handed on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from forge.errors import StageError
from forge.records import Example, Message, Record, Symbol, Task, Trajectory
from forge.stages.grammar import LINE, WHY, one_of
from forge.stages.stage import (
    Change,
    Hunk,
    LoraDefaults,
    PromptStyle,
    Situation,
    because,
    example,
    format_hunks,
    format_symbols,
    in_hindsight,
    messages,
)

MAX_TOKENS = 12
"""A change of more tokens than this, old and new together, is left to generation."""

KINDS = ("insert", "delete", "rewrite")
"""Changes that are more than some tokens of one line."""

INSTRUCTIONS = (
    "You plan a minimal change to a repository that resolves an issue. For every place, answer with three lines: "
    "'edit ' and the symbol's number, 'line: ' and the line to change as it stands, 'change: ' and 'OLD -> NEW' when a few tokens "
    f"of the line change, else one of {', '.join(KINDS)}."
)
EXPLAINED = (
    f"{INSTRUCTIONS} Before all of them write one line, 'why: ' and in a few sentences what is wrong, what has to change and why "
    "that is enough."
)


class PlanStep(Record):
    """One place to change."""

    symbol: str
    line: str = ""
    change: str = ""
    """Empty, as `line` is, where the plan says only which symbol."""


class Planning:
    name = "planning"
    judgement = False
    defaults = LoraDefaults(max_answer_tokens=64, explanation_tokens=320)

    def prompt(self, situation: Situation, style: PromptStyle = "full") -> tuple[Message, ...]:
        return messages(
            self.name,
            EXPLAINED if style == "explained" else INSTRUCTIONS,
            style,
            ("issue", situation.statement),
            ("symbol", format_symbols(situation.symbols)),
            ("rejected", _rejected(situation)),
        )

    def grammar(self, situation: Situation, style: PromptStyle = "full") -> str:
        """Steps in symbols that are shown: their numbers alone in style `brief`, else each with a line as it stands in the symbol."""
        shown = [{line.strip(): None for line in symbol.source.splitlines() if line.strip()} for symbol in situation.symbols]
        if not all(shown) or not shown:
            return ""
        numbers = range(1, len(shown) + 1)
        if style == "brief":
            return f'root ::= step ("\\n" step){{0,{len(shown) - 1}}}\nstep ::= "edit " ({one_of(map(str, numbers))})'
        why = f"{WHY} " if style == "explained" else ""
        steps = " | ".join(f'"edit {n}\\nline: " line{n} "\\nchange: " {LINE}' for n in numbers)
        lines = "\n".join(f"line{n} ::= {one_of(lines)}" for n, lines in zip(numbers, shown, strict=True))
        return f'root ::= {why}step ("\\n" step)*\nstep ::= {steps}\n{lines}'

    def parse(self, text: str, symbols: tuple[Symbol, ...]) -> list[PlanStep]:
        """The plan's steps; raises `StageError` when a symbol or line is not one that was shown."""
        by_number = {str(number): symbol for number, symbol in enumerate(symbols, 1)}
        found = re.findall(r"^edit (.+)$(?:\nline: (.*)\nchange: (.+)$)?", text.strip(), re.MULTILINE)
        if not found:
            raise StageError("the plan has no 'edit' step")
        for number, line, change in found:
            if number not in by_number:
                raise StageError(f"the plan edits symbol {number[:20]}, but {len(symbols)} were shown")
            if change and line.strip() not in {shown.strip() for shown in by_number[number].source.splitlines()}:
                raise StageError(f"the plan's line is not in {by_number[number].key}: {line.strip()[:80]}")
        return [PlanStep(symbol=by_number[number].key, line=line, change=change) for number, line, change in found]

    def from_change(self, change: Change, style: PromptStyle = "full") -> Iterator[Example]:
        """The plan at once, and after each number of wrong attempts."""
        style = change.told_in(style)
        keys = [symbol.key for symbol in change.offered]
        for count, rejected in enumerate(change.rejections()):
            # Relevance lets others through now and then: in every second row one of them stands beside the touched ones.
            shown = change.touched + (change.others[:1] if count % 2 == 0 else ())
            shown = tuple(sorted(shown, key=lambda symbol: keys.index(symbol.key)))
            plan = plan_of(change.hunks, shown, style)
            if plan:  # else everything that changed lies outside functions
                if style == "explained" and change.explanation:
                    plan = because(change.explanation.plan, plan)
                prompt = self.prompt(Situation(statement=change.statement, symbols=shown, rejected=rejected), style)
                yield example(self.name, prompt, plan, change.lineage)

    def from_trajectory(self, trajectory: Trajectory, task: Task) -> Iterator[Example]:
        yield from in_hindsight(trajectory, task, self.name)


def plan_of(hunks: tuple[Hunk, ...], symbols: tuple[Symbol, ...], style: PromptStyle = "full") -> str:
    """The plan that these hunks carry out, as far as they lie in `symbols`."""
    steps = [PlanStep(symbol=h.symbol, line=_changed_line(h).strip(), change=_change_of(h)) for h in hunks]
    if style == "brief":
        steps = [PlanStep(symbol=key) for key in dict.fromkeys(step.symbol for step in steps)]
    return written(steps, symbols)


def written(steps: Sequence[PlanStep], symbols: Sequence[Symbol]) -> str:
    """A plan's text for a reader who is shown these symbols; steps in others are left out."""
    numbers = {symbol.key: number for number, symbol in enumerate(symbols, 1)}
    return "\n".join(
        f"edit {numbers[step.symbol]}" + (f"\nline: {step.line}\nchange: {step.change}" if step.change else "")
        for step in steps
        if step.symbol in numbers
    )


def _rejected(situation: Situation) -> str:
    """Rejected edits in the words of a plan, which says what not to plan again; as a diff where a plan would not say all."""
    told = [(hunk, plan_of((hunk,), situation.symbols)) for hunk in situation.rejected]
    return "\n".join(plan if plan and plan.rsplit(": ", 1)[1] not in KINDS else format_hunks((hunk,)) for hunk, plan in told)


def _change_of(hunk: Hunk) -> str:
    """What of the line is replaced by what if that is short, else the kind."""
    if len(hunk.new) != len(hunk.old):
        return "insert" if len(hunk.new) > len(hunk.old) else "delete"
    differing = [(old, new) for old, new in zip(hunk.old, hunk.new, strict=True) if old != new]
    gone, come = _replaced(*differing[0])
    few = "" not in (gone, come) and gone != come and len(_PIECE.findall(gone) + _PIECE.findall(come)) <= MAX_TOKENS
    return f"{gone} -> {come}" if few and len(differing) == 1 else "rewrite"


_PIECE = re.compile(r"\w+|(?://|\*\*|[-+*/%<>=!])=?|[^\s\w]")


def _replaced(old: str, new: str) -> tuple[str, str]:
    """The parts of two lines between what they begin and end with alike, in whole tokens, neither of them empty.

    What is only put in or taken out brings the token before it along, which says where.
    """
    left, right = ([(match.group(), *match.span()) for match in _PIECE.finditer(line)] for line in (old, new))
    room = min(len(left), len(right))
    same = next((i for i in range(room) if left[i][0] != right[i][0]), room)
    tail = next((i for i in range(room - same) if left[-1 - i][0] != right[-1 - i][0]), room - same)
    if same + tail == room:
        same, tail = (same - 1, tail) if same else (same, tail - 1)

    def between(line: str, pieces: list[tuple[str, int, int]]) -> str:
        inner = pieces[max(same, 0) : len(pieces) - max(tail, 0)]
        return line[inner[0][1] : inner[-1][2]] if inner else ""

    return between(old, left), between(new, right)


def _changed_line(hunk: Hunk) -> str:
    """The first old line that is not kept; of a pure insertion, the line that it follows."""
    return next((old for old in hunk.old if old not in hunk.new), hunk.old[0])


STAGE = Planning()
