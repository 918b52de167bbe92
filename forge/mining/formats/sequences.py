"""Exercises and added files as LintSeq's edit sequences."""

from __future__ import annotations

import re
from collections.abc import Iterator

from forge.mining.formats.folder import Line
from forge.mining.formats.format import Lines, Source
from forge.mining.formats.lesson import asked
from forge.mining.formats.lintseq import sequences
from forge.mining.public.instruct import Instruct
from forge.mining.row import Row
from forge.records import Drop

SEPARATOR = "<|diff|>"
"""What stands before each diff where a sequence is one text, as in the paper's code."""
_FENCE = re.compile(r"^```[ \t]*([\w+-]*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def edit_sequences(count: int = 3, seed: int = 0) -> Lines:
    """Lines of `instruction`, `edits` and `completion` (the edits as one text), up to `count` sequences a program."""

    def lines(source: Source) -> Iterator[Line | Drop]:
        programs = list(_programs(source))
        if not programs:
            yield Drop(sha="", reason="no Python program in it")
        for name, program in programs:
            found = sequences(program, count, seed)
            if not found:
                yield Drop(sha="", reason="a program that does not compile or is too long")
            for sequence in found:
                edits = list(sequence.diffs)
                said = {"instruction": _instruction(source), "edits": edits, "completion": "".join(SEPARATOR + edit for edit in edits)}
                about = {"id": f"{name}#{sequence.seed}", "source": _origin(source)[0], "licence": _origin(source)[1]}
                yield Line(said | about, heldout=isinstance(source, Row) and source.heldout)

    return lines


def python_in(answer: str) -> str:
    """The Python program of an answer: its fenced blocks of Python in order, or all of it when there is no fence."""
    fenced = _FENCE.findall(answer)
    if not fenced:
        return answer if answer.endswith("\n") else f"{answer}\n"
    return "\n".join(code for language, code in fenced if language.lower() in ("", "python", "py", "python3"))


def _programs(source: Source) -> Iterator[tuple[str, str]]:
    """Names and texts of the programs that are written whole: an exercise's answer, the files that a commit adds."""
    if isinstance(source, Instruct):
        program = python_in(source.answer)
        if source.language in ("", "python") and program.strip():
            yield source.id, program
    elif isinstance(source, Row):
        for file in source.files:
            if file.path.endswith(".py") and file.before is None and (file.after or "").strip():
                yield f"{source.id}:{file.path}", file.after or ""


def _instruction(source: Source) -> str:
    return asked(source) if isinstance(source, Row) else source.instruction if isinstance(source, Instruct) else ""


def _origin(source: Source) -> tuple[str, str]:
    if isinstance(source, Row):
        return source.repo, source.licence
    return (source.source, source.licence) if isinstance(source, Instruct) else (source.lineage.repo, "")
