"""LintSeq (Piterbarg et al., arXiv 2410.02749): a program as a sequence of insertions, each of which leaves it free of errors.

Backwards: a statement is drawn and taken out with all that is indented under it; while the linter finds errors, what they
are in goes too. Forwards, each step is an insert-only diff. No model is asked.
"""

from __future__ import annotations

import io
import itertools
import random
import tokenize
from collections.abc import Iterator, Sequence

from forge.mining.formats.linter import Fault, faults
from forge.records import Record

MAX_LINES = 600
"""Longer programs get no sequences: the linter reads what is left once a step."""
_BRANCHES = ("elif ", "else:", "else ", "except ", "except:", "except*", "finally:", "finally ")


class EditSequence(Record):
    """Diffs without context that, applied in order, write a program into an empty file."""

    seed: int
    diffs: tuple[str, ...]


class Statement(Record):
    """One logical line with the comments and blank lines above it: lines `first` to `last` (0-based, inclusive)."""

    first: int
    line: int
    """Where its first token stands."""
    last: int
    indent: int
    branch: bool
    """It goes on with the statement before, such as `else`."""
    decorator: bool


def sequences(source: str, count: int, seed: int) -> list[EditSequence]:
    """Up to `count` different sequences of a program, drawn with `seed`, `seed + 1` and so on.

    None for a program that does not compile, is longer than `MAX_LINES`, or has line ends other than newlines.
    """
    statements = statements_of(source)
    found: dict[tuple[str, ...], EditSequence] = {}
    for number in range(seed, seed + count if statements else seed):
        lines = lines_of(source)
        states = [frozenset[int](), *reversed(list(_states(lines, statements, random.Random(number))))]
        diffs = tuple(_insertion(lines, old, new) for old, new in itertools.pairwise(states))
        found.setdefault(diffs, EditSequence(seed=number, diffs=diffs))
    return list(found.values())


def applied(diffs: Sequence[str]) -> str:
    """The program that insert-only diffs write into an empty file."""
    lines: list[str] = []
    for diff in diffs:
        at = 0
        for line in lines_of(diff):
            if line.startswith("@@ "):
                at = int(line.split("+")[1].split(" ")[0].split(",")[0]) - 1
            elif line.startswith("\\"):
                lines[at - 1] = lines[at - 1].removesuffix("\n")
            else:
                lines.insert(at, line[1:])
                at += 1
    return "".join(lines)


def lines_of(text: str) -> list[str]:
    """Lines with their ends; a newline alone ends one."""
    parts = text.split("\n")
    return [f"{line}\n" for line in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def statements_of(source: str) -> list[Statement]:
    """The program's logical lines, which cover all its lines; none where `sequences` would give none."""
    lines = lines_of(source)
    if not 0 < len(lines) <= MAX_LINES or lines != source.splitlines(keepends=True) or any(fault.syntax for fault in faults(source)):
        return []
    found: list[Statement] = []
    start: tokenize.TokenInfo | None = None
    first = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
            continue
        start = start or token
        if token.type == tokenize.NEWLINE:
            text = start.line[start.start[1] :]
            found.append(
                Statement(
                    first=first,
                    line=start.start[0] - 1,
                    last=token.start[0] - 1,
                    indent=start.start[1],
                    branch=text.startswith(_BRANCHES),
                    decorator=text.startswith("@"),
                )
            )
            first, start = token.start[0], None
    return [*found[:-1], found[-1].model_copy(update={"last": len(lines) - 1})] if found else []


def _states(lines: Sequence[str], statements: Sequence[Statement], chance: random.Random) -> Iterator[frozenset[int]]:
    """The programs on the way from all statements to none, each by the numbers of the lines that it has."""
    known = {fault.says for fault in faults("".join(lines))}
    left = list(range(len(statements)))
    while left:
        yield frozenset(_numbers(left, statements))
        left = _without(left, chance.choice(left), statements)
        while left and (errors := faults("".join(lines[n] for n in _numbers(left, statements)), known)):
            left = _mended(left, errors, statements)


def _numbers(left: Sequence[int], statements: Sequence[Statement]) -> list[int]:
    return [n for i in left for n in range(statements[i].first, statements[i].last + 1)]


def _mended(left: list[int], errors: Sequence[Fault], statements: Sequence[Statement]) -> list[int]:
    """What is left without the statements that the errors are in."""
    numbers = _numbers(left, statements)
    owner = {n: i for i in left for n in range(statements[i].first, statements[i].last + 1)}
    for error in reversed(errors):
        at = owner[numbers[min(error.line, len(numbers)) - 1]] if error.line <= len(numbers) else None
        if error.syntax and (at is None or error.missing_block or not statements[at].branch):
            # What lacks its body, its handlers or its function stands before the place where that is noticed.
            position = left.index(at) if at is not None else len(left)
            at = left[max(0, position - 1)]
        if at is None:
            at = left[-1]
        if at in left:
            left = _without(left, at, statements)
    return left


def _without(left: Sequence[int], at: int, statements: Sequence[Statement]) -> list[int]:
    """What is left when a statement goes, with what is indented under it, its branches and its decorators."""
    position = list(left).index(at)
    indent = statements[at].indent
    end = position + 1
    while end < len(left) and (statements[left[end]].indent > indent or _goes_on(statements[left[end]], statements[at])):
        end += 1
    start = position
    while start and statements[left[start - 1]].decorator and statements[left[start - 1]].indent == indent:
        start -= 1
    return [*left[:start], *left[end:]]


def _goes_on(later: Statement, first: Statement) -> bool:
    """Whether a statement is a branch of the one that goes; a branch that goes takes none with it."""
    return later.branch and later.indent == first.indent and not first.branch


def _insertion(lines: Sequence[str], old: frozenset[int], new: frozenset[int]) -> str:
    """The diff, without headers of files and without context, that puts the lines of `new` between those of `old`."""
    parts: list[str] = []
    before = 0
    for kept, group in itertools.groupby(enumerate(sorted(new), 1), key=lambda place: place[1] in old):
        run = list(group)
        if kept:
            before += len(run)
            continue
        size = f",{len(run)}" if len(run) > 1 else ""
        parts.append(f"@@ -{before},0 +{run[0][0]}{size} @@\n")
        parts += [f"+{lines[n]}" if lines[n].endswith("\n") else f"+{lines[n]}\n\\ No newline at end of file\n" for _, n in run]
    return "".join(parts)
