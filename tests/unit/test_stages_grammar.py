"""Grammars of answers: all that stages teach is in them, all that is in them is parsed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.records import Symbol
from forge.stages import analysis, planning
from forge.stages.analysis import Analysis
from forge.stages.grammar import one_of, quoted
from forge.stages.planning import Planning
from forge.stages.stage import Explanation, PromptStyle, Situation
from tests.unit.test_stages import _change

AWKWARD = 'def say(name):\n\tquote = "\\\\d\\"\x0c"\n\n    return "ü" if name else 1  \n'
SYMBOLS = (
    Symbol(path="a.py", name="say", signature="say(name)", source=AWKWARD, first_line=1, last_line=4),
    Symbol(path="b.py", name="two", signature="two()", source="def two():\n    return 2\n", first_line=1, last_line=2),
)
STYLES: tuple[PromptStyle, ...] = ("brief", "full", "explained")


TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[\^(?:[^\]\\]|\\.)*\]|[a-z]\w*|\{\d+,\d+\}|[()|*+?]')
ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}


def as_regex(grammar: str) -> str:
    """Python's expression for a grammar of the notation that `forge.stages.grammar` keeps to."""
    rules = dict(line.split(" ::= ", 1) for line in grammar.split("\n"))

    def part(token: str) -> str:
        if token.startswith('"'):
            return f"(?:{re.escape(_text(token))})"
        return f"(?:{expanded(token)})" if token in rules else token

    def expanded(rule: str) -> str:
        assert not TOKEN.sub("", rules[rule]).strip(), "a notation that the docstring does not name"
        return "".join(part(token) for token in TOKEN.findall(rules[rule]))

    return expanded("root")


def _text(literal: str) -> str:
    def meant(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if code[0] in "uU" else ESCAPED.get(code, code)

    return re.sub(r"\\(u[0-9A-F]{4}|U[0-9A-F]{8}|.)", meant, literal[1:-1])


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("stage", [analysis.STAGE, planning.STAGE])
def test_what_a_change_teaches_is_in_the_grammar_of_its_prompt(stage: Analysis | Planning, style: PromptStyle) -> None:
    change = _change().model_copy(update={"explanation": Explanation(analysis="total is named", plan="the bound is wrong")})
    both = tuple(symbol for symbol in change.offered if symbol in change.touched + change.others)
    situations = [Situation(statement="s", candidates=change.offered, symbols=symbols) for symbols in (both, change.touched)]
    patterns = [as_regex(stage.grammar(situation, style)) for situation in situations]
    rows = list(stage.from_change(change, style))
    assert rows and all(any(re.fullmatch(pattern, row.completion) for pattern in patterns) for row in rows)


@pytest.mark.parametrize("style", STYLES)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_whatever_a_grammar_lets_through_is_parsed(style: PromptStyle, data: st.DataObject) -> None:
    situation = Situation(statement="s", candidates=SYMBOLS, symbols=SYMBOLS)
    alphabet = st.sampled_from(sorted(set(AWKWARD + "edit line: change: why: def two():return 2 1->")))
    answer = data.draw(st.from_regex(as_regex(analysis.STAGE.grammar(situation, style)), fullmatch=True, alphabet=alphabet))
    assert analysis.STAGE.parse(answer, SYMBOLS)
    plan = data.draw(st.from_regex(as_regex(planning.STAGE.grammar(situation, style)), fullmatch=True, alphabet=alphabet))
    steps = planning.STAGE.parse(plan, SYMBOLS)
    assert len(steps) == len(re.findall("^edit ", plan, re.MULTILINE)) and all(bool(step.change) == (style != "brief") for step in steps)


def test_a_grammar_with_nothing_to_choose_from_is_none() -> None:
    nothing = Situation(statement="s")
    assert (analysis.STAGE.grammar(nothing), planning.STAGE.grammar(nothing, "brief"), planning.STAGE.grammar(nothing)) == ("", "", "")


def test_texts_are_quoted_as_both_engines_read_them() -> None:
    assert quoted('a"b\\\t\x0cü') == '"a\\"b\\\\\\t\\u000Cü"'
    assert one_of(["1", "2", "1"]) == '"1" | "2"'
