from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.records import Symbol
from forge.stages.bugs.mutations import EVERY, mutations, places, planted
from forge.stages.source.symbols import symbols_of

ROOT = Path(__file__).resolve().parents[2]
OURS = [symbol for path in sorted((ROOT / "forge").rglob("*.py")) for symbol in symbols_of(path.name, path.read_text(encoding="utf-8"))]


@given(st.sampled_from(OURS), st.data())
def test_a_planted_bug_parses_differs_and_leaves_all_other_text_alone(symbol: Symbol, data: st.DataObject) -> None:
    found = [splice for splices in places(symbol.source).values() for splice in splices]
    if not found:
        return
    splice = data.draw(st.sampled_from(found))
    bug = planted(symbol.source, splice)
    if bug is None:
        return
    ast.parse(textwrap.dedent(bug.source))
    assert bug.source != symbol.source
    assert bug.source.startswith(symbol.source[: splice.start])
    assert bug.source.endswith(symbol.source[splice.end :])
    assert bug.operator == splice.operator


@given(st.sampled_from(OURS))
def test_no_two_operators_plant_the_same_splice(symbol: Symbol) -> None:
    found = [(s.start, s.end, s.text) for splices in places(symbol.source).values() for s in splices]
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("operator", "line", "wrong"),
    [
        ("membership", "return a in b", "return a not in b"),
        ("membership", "return a is not None", "return a is None"),
        ("wrong-binary", "return a / b", "return a // b"),
        ("operands-swapped", "return a - b", "return b - a"),
        ("sign-lost", "return -a", "return a"),
        ("parentheses-lost", "return (a + b) * 2", "return a + b * 2"),
        ("condition-lost", "return a and b", "return a"),
        ("condition-lost", "return a and b", "return b"),
        ("filter-lost", "return [x for x in a if x]", "return [x for x in a]"),
        ("branches-swapped", "return a if b else 1", "return 1 if b else a"),
        ("dict-key", "return a['name']", "return a['nam']"),
        ("string", "return f(a, sep=', ')", "return f(a, sep=',')"),
        ("arguments-swapped", "return f(a, b)", "return f(b, a)"),
        ("argument-lost", "return f(a, key=b)", "return f(a)"),
        ("call-lost", "return list(a)", "return a"),
        ("call-lost", "return a.strip()", "return a"),
        ("similar-call", "return a.split(b)", "return a.rsplit(b)"),
        ("exception-type", "raise KeyError(a)", "raise IndexError(a)"),
    ],
)
def test_expression_slips_are_those_that_people_make(operator: str, line: str, wrong: str) -> None:
    assert f"def f(a, b):\n    {wrong}\n" in bugs(f"def f(a, b):\n    {line}\n", operator)


LOOP = """def f(self, items):
    total = 0
    for item in items:
        if item is None:
            continue
        total += item  # keep
    return total
"""
CHOICE = """@cached
def f(a):
    if a:
        b = 1
    else:
        b = 2

    return b
"""


@pytest.mark.parametrize(
    ("operator", "source", "before", "after"),
    [
        ("guard-lost", LOOP, "        if item is None:\n            continue\n", ""),
        ("line-lost", LOOP, "    total = 0\n", ""),
        ("loop-lost", LOOP, LOOP[LOOP.index("    for") : LOOP.index("    return")], ""),
        ("return-in-loop", LOOP, "    return total", "        return total"),
        ("else-lost", CHOICE, "    else:\n        b = 2\n", ""),
        ("branches-swapped", CHOICE, "b = 1\n    else:\n        b = 2", "b = 2\n    else:\n        b = 1"),
        ("decorator-lost", CHOICE, "@cached\n", ""),
    ],
)
def test_statement_slips_take_whole_lines(operator: str, source: str, before: str, after: str) -> None:
    assert source.replace(before, after) in bugs(source, operator)


def test_methods_are_changed_where_they_stand() -> None:
    method = textwrap.indent('def f(self, a):\n    """Say.\n\n  odd margin\n    """\n    return self.b if a else self.c\n', "    ")
    found = bugs(method, "branches-swapped")
    assert found == [method.replace("self.b if a else self.c", "self.c if a else self.b")]
    assert bugs(method, "wrong-attribute") == [method.replace("self.b", "self.c"), method.replace("self.c", "self.b")]


def test_real_code_offers_more_operators_than_the_core_ones() -> None:
    core = {mutation.operator for symbol in OURS[::20] for mutation in mutations(symbol.source)}
    every = {operator for symbol in OURS for operator in places(symbol.source, EVERY)}
    assert core < every
    assert len(every) >= 35


def test_nonsense_has_no_places() -> None:
    assert places("def (") == {}
    assert places("    def f(:\n") == {}


def bugs(source: str, operator: str) -> list[str]:
    found = (planted(source, splice) for splice in places(source).get(operator, []))
    return [bug.source for bug in found if bug is not None]
