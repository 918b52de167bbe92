"""Twins of hidden tests, and where chance puts them."""

from __future__ import annotations

import ast
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.exam.arrange import arrange
from forge.exam.twins import _other, twins_of
from forge.records import FileEdit

SOURCE = '''import pytest
from calc import add, parse

LIMIT = 3


@pytest.mark.parametrize("a", [1, 2])
def test_many(a):
    assert add(a, a) == 2 * a


def test_add():
    """Adds."""
    assert add(1, 2) == 3


class TestParse:
    def test_refuses(self):
        with pytest.raises(ValueError, match="no"):
            parse("x")

    def test_gives(self, tmp_path):
        result = parse("1")
        assert result


def test_twice():
    assert add(1, 1) == 1


def test_twice():
    assert add(1, 1) == 2
'''
TESTS = (FileEdit(path="tests/test_calc.py", content=SOURCE),)
ADD = "tests/test_calc.py::test_add"
REFUSES = "tests/test_calc.py::TestParse::test_refuses"
GIVES = "tests/test_calc.py::TestParse::test_gives"


def outcomes(source: str, add: Any, parse: Any) -> dict[str, bool]:
    """Whether each plain function of an arranged file passes with this code under test."""
    space: dict[str, Any] = {}
    exec(source.replace("from calc import add, parse", ""), space)
    space |= {"add": add, "parse": parse}
    found = {}
    for name, function in list(space.items()):
        if name.startswith("test_") and not getattr(function, "pytestmark", None):
            try:
                function()
                found[name] = True
            except Exception:  # noqa: BLE001
                found[name] = False
    return found


def test_a_changed_twin_expects_another_constant_and_an_inverted_one_wants_an_error() -> None:
    changed, inverted = twins_of(TESTS, [ADD, GIVES])
    assert (changed.kind, changed.name) == ("changed", "test_add")
    assert "add(1, 2) == 2" in changed.source
    assert (inverted.kind, inverted.name) == ("inverted", "TestParse.test_gives")
    assert "except BaseException" in inverted.source and "raise AssertionError" in inverted.source


def test_without_a_constant_an_exception_or_the_opposite_is_expected() -> None:
    (changed, _) = twins_of(TESTS, [REFUSES])
    assert "pytest.raises(BlockingIOError" in changed.source
    (changed, _) = twins_of(TESTS, [GIVES])
    assert "assert not result" in changed.source


@pytest.mark.parametrize(
    "source",
    [
        "def test_a():\n    yield\n    assert f() == 1\n",
        "@pytest.mark.xfail\ndef test_a():\n    assert f() == 1\n",
        "@given(st.integers())\ndef test_a(x):\n    assert f(x) == 1\n",
        "def test_a():\n    assert f() == 1\ndef test_a():\n    pass\n",
        "def test_a(:\n",
    ],
)
def test_what_cannot_fail_plainly_has_no_twin(source: str) -> None:
    assert twins_of([FileEdit(path="t.py", content=source)], ["t.py::test_a"]) == ()


def test_with_right_code_the_tests_pass_and_the_twins_fail_wherever_chance_puts_them() -> None:
    ids = [ADD, GIVES, REFUSES]
    twins = twins_of(TESTS, ids)
    seen = set()
    for seed in range(12):
        arranged = arrange(TESTS, ids, twins, random.Random(seed))
        (file,) = arranged.files
        run = outcomes(file.content or "", lambda a, b: a + b, lambda text: 1)
        asked = arranged.stand_ins.get(ADD, ADD)
        assert run[asked.rpartition("::")[2]]
        (wrong,) = (id_ for id_, twin in arranged.twins.items() if twin.name == "test_add")
        assert not run[wrong.rpartition("::")[2]]
        seen.add(asked == ADD)
    assert seen == {True, False}


def test_names_do_not_tell_and_what_has_no_twin_stays_as_it_is() -> None:
    ids = [ADD, "tests/test_calc.py::test_many[1]"]
    arranged = arrange(TESTS, ids, twins_of(TESTS, [ADD]), random.Random(1))
    (file,) = arranged.files
    functions = [node.name for node in ast.parse(file.content or "").body if isinstance(node, ast.FunctionDef)]
    assert functions.count("test_many") == 1 and functions.count("test_twice") == 2
    versions = [name for name in functions if name.startswith("test_add")]
    assert len(versions) == 3 and "test_add" in versions
    assert arranged.stand_ins.keys() == {ADD} and len(arranged.twins) == 2
    assert arrange(TESTS, ids, twins_of(TESTS, [ADD]), random.Random(1)) == arranged
    assert arrange(TESTS, ids, (), random.Random(1)).files == TESTS


@given(st.one_of(st.integers(), st.booleans(), st.text(), st.binary(), st.floats()))
def test_another_value_is_another_one(value: object) -> None:
    other = _other(value)
    assert other is None or other != value
    if isinstance(value, int):
        assert _other(other) == value
