from __future__ import annotations

import subprocess
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.mining.formats import lintseq
from forge.mining.formats.folder import Line
from forge.mining.formats.linter import faults
from forge.mining.formats.lintseq import applied, sequences, statements_of
from forge.mining.formats.sequences import SEPARATOR, edit_sequences, python_in
from forge.mining.public.instruct import Instruct
from forge.records import Drop

PROGRAM = '''"""Shapes."""
import math


class Circle:
    # A radius is all.
    def __init__(self, radius):
        self.radius = radius

    @property
    def area(self):
        try:
            return math.pi * self.radius ** 2
        except OverflowError:
            return math.inf
        finally:
            pass


def biggest(circles):
    best = None
    for circle in circles:
        if best is None or circle.area > best.area:
            best = circle
        elif circle is best:
            continue
        else:
            pass
    return best


# The end.'''


def programs() -> st.SearchStrategy[str]:
    """Nested blocks over a few names, comments, blank lines and strings over several lines among them, sound or not."""
    names = st.sampled_from(["a", "b", "c"])
    simple = st.one_of(
        st.builds("{} = {}".format, names, st.sampled_from(["1", "a", "b + c", "len(a)", "(\n1,\n2)", '"""x\n  y"""', "f(b)"])),
        st.sampled_from(["pass", "# a comment", "", "import math", "print(\n    a,\n)", "x = 1; y = x"]),
    )
    heads = ["if {}:", "for {} in (1, 2):", "while {}:", "def {}(f):", "class {}:", "with open({}) as f:", "@print\ndef {}(f):"]

    def block(inner: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[str]]:
        def nested(head: str, name: str, body: list[str], other: list[str], tail: str) -> list[str]:
            indented = ["    " + line if line else line for part in body for line in part.split("\n")]
            lines = [*head.format(name).split("\n"), *indented, "    pass"]
            if tail == "else" and head.startswith(("if", "for", "while")):
                lines += ["else:", *["    " + line if line else line for part in other for line in part.split("\n")], "    pass"]
            return lines

        return st.builds(nested, st.sampled_from(heads), names, inner, inner, st.sampled_from(["else", ""]))

    plain = st.lists(simple, min_size=1, max_size=4)
    tree = st.recursive(
        plain,
        lambda inner: st.lists(st.one_of(block(inner), plain), max_size=4).map(lambda parts: list(chain.from_iterable(parts))),
        max_leaves=8,
    )
    return st.builds(lambda lines, end: "\n".join(lines) + end, tree, st.sampled_from(["\n", ""]))


@settings(max_examples=150, deadline=None)
@given(programs(), st.integers(0, 5))
def test_a_sequence_writes_the_very_program_and_no_step_adds_an_error(program: str, seed: int) -> None:
    known = {fault.says for fault in faults(program)}
    for sequence in sequences(program, 2, seed):
        assert applied(sequence.diffs) == program
        for step in range(len(sequence.diffs)):
            assert faults(applied(sequence.diffs[:step]), known) == []


def test_every_step_only_inserts_and_there_are_several() -> None:
    found = sequences(PROGRAM, 5, seed=3)
    assert len(found) > 1 and found == sequences(PROGRAM, 5, seed=3)
    for sequence in found:
        assert len(sequence.diffs) > 2
        assert {line[:1] for diff in sequence.diffs for line in diff.splitlines()} <= {"@", "+", "\\"}


def test_git_applies_a_sequence(tmp_path: Path) -> None:
    (tmp_path / "shapes.py").write_text("")
    for diff in sequences(PROGRAM, 1, seed=0)[0].diffs:
        patch = f"--- a/shapes.py\n+++ b/shapes.py\n{diff}"
        subprocess.run(["git", "apply", "--unidiff-zero", "-"], input=patch.encode(), cwd=tmp_path, check=True)
    assert (tmp_path / "shapes.py").read_text() == PROGRAM


def test_statements_cover_every_line_once() -> None:
    found = statements_of(PROGRAM)
    lines = [number for statement in found for number in range(statement.first, statement.last + 1)]
    assert lines == list(range(PROGRAM.count("\n") + 1))


@pytest.mark.parametrize("program", ["", "def f(:\n", "x = 1\ry = 2\n", "x = '\x0c'\n", "\x00"])
def test_programs_that_cannot_be_taken_apart_have_no_sequence(program: str) -> None:
    assert sequences(program, 2, 0) == []


def test_long_programs_have_no_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    # The limit is a constant; a program as long as it would only make the test slow.
    monkeypatch.setattr(lintseq, "MAX_LINES", 3)
    assert sequences("a = 1\nb = 2\nc = 3\n", 1, 0) != []
    assert sequences("a = 1\nb = 2\nc = 3\nd = 4\n", 1, 0) == []


def test_faults_name_what_the_paper_asks_pylint_for() -> None:
    assert [fault.says for fault in faults("print(x)\n")] == ["undefined name 'x'"]
    assert faults("print(x)\n", {"undefined name 'x'"}) == []
    assert faults("import os\n") == []
    assert [fault.line for fault in faults("x = 1\nreturn x\n")] == [2]
    assert faults("def f(:\n")[0].syntax


def test_exercises_become_sequences_of_their_fenced_program() -> None:
    answer = "First think.\n\n```python\nimport math\n\n\ndef root(x):\n    return math.sqrt(x)\n```\nDone."
    exercise = Instruct(id="s:1", source="s", instruction="Take a root.", answer=answer, licence="MIT", language="python")
    lines = list(edit_sequences(count=4, seed=1)(exercise))
    assert lines and all(isinstance(line, Line) for line in lines)
    for line in lines:
        assert isinstance(line, Line)
        assert applied(line.fields["edits"]) == python_in(answer) == "import math\n\n\ndef root(x):\n    return math.sqrt(x)\n"
        assert line.fields["completion"].split(SEPARATOR)[1:] == line.fields["edits"]


def test_answers_without_a_sound_program_are_dropped_with_the_reason() -> None:
    exercise = Instruct(id="s:1", source="s", instruction="?", answer="It depends on you.", licence="MIT")
    assert [drop.reason for drop in edit_sequences()(exercise) if isinstance(drop, Drop)] == [
        "a program that does not compile or is too long"
    ]
    java = exercise.model_copy(update={"language": "java"})
    assert [drop.reason for drop in edit_sequences()(java) if isinstance(drop, Drop)] == ["no Python program in it"]
