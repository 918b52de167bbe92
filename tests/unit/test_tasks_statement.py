from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from forge.records import CommandResult, FileEdit
from forge.stages.source.symbols import symbols_of
from forge.tasks import tracer
from forge.tasks.candidate import Candidate
from forge.tasks.reach import Reach, command, parse
from forge.tasks.statement import statement_of
from forge.tasks.symptoms import symptom_of

TESTS = """import os
import pytest
from shop.cart import Cart, total
from shop import money

RATES = {"eur": 1}


def helper(x):
    return x


def test_total():
    start = 1
    cart = Cart(RATES)
    unused = 5
    start = 2
    cart.add("apple", start)
    assert cart
    assert total(cart) == 3


def test_refuses():
    with pytest.raises(ValueError):
        money.parse("")


@pytest.mark.parametrize("text", ["a", "b"])
def test_parse(text):
    assert helper(money.parse(text))


class TestCart:
    kind = Cart

    def setUp(self):
        self.cart = self.kind(RATES)

    def test_empty(self):
        self.assertEqual(len(self.cart), 0)
"""


NOT_RAISED = "Failed: DID NOT RAISE <class 'ValueError'>"
NONE = "AssertionError: assert None\n +  where None = helper(None)"


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(TESTS.splitlines(), 1) if text in line)


def test_a_report_shows_the_steps_to_the_failure_and_what_came_instead() -> None:
    found = symptom_of(TESTS, line_of("total(cart) == 3"), "AssertionError: assert 4 == 3\n +  where 4 = total(...)", {"_sum"})
    assert found is not None
    assert found.title == "wrong result from total()"
    assert found.outcome == "Expected: 3\nActual:   4"
    assert found.code == "\n".join([
        "from shop.cart import Cart, total",
        'RATES = {"eur": 1}',
        "",
        "cart = Cart(RATES)",
        "start = 2",
        'cart.add("apple", start)',
        "assert total(cart) == 3",
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message", "names", "title", "outcome"),
    [
        ("total(cart) == 3", "KeyError: 'apple'", {"add"}, "total() raises KeyError", "KeyError: 'apple'"),
        ("with pytest.raises", NOT_RAISED, {"parse"}, "money.parse() does not raise ValueError", "Nothing is raised."),
        ("assert helper", NONE, {"parse"}, "wrong result from money.parse()", NONE.replace(" +", "+")),
        ("assert helper", "TypeError: bad at 0x7f3a", {"unseen"}, "money.parse() raises TypeError", "TypeError: bad"),
        ("assert helper", "TypeError: <a.B object at 0x7...10>", {"unseen"}, "money.parse() raises TypeError", "TypeError: <a.B object>"),
        ("assert helper", "TypeError: <a.B obj...c7fed10>", {"unseen"}, "money.parse() raises TypeError", "TypeError: <a.B obj...>"),
    ],
)  # fmt: skip
def test_titles_say_what_is_wrong_with_what_people_call(line: str, message: str, names: set[str], title: str, outcome: str) -> None:
    found = symptom_of(TESTS, line_of(line), message, names)
    assert found is not None
    assert (found.title, found.outcome) == (title, outcome)


def test_a_method_is_shown_in_its_class_with_what_that_sets_up() -> None:
    found = symptom_of(TESTS, line_of("self.assertEqual"), "AssertionError: 1 != 0", {"Cart"})
    assert found is not None
    assert (
        "class TestCart:\n    kind = Cart\n    def setUp(self):\n        self.cart = self.kind(RATES)\n    def test_empty(self):"
        in found.code
    )
    assert found.code.endswith("        self.assertEqual(len(self.cart), 0)")


def test_a_parametrized_case_is_named_and_a_line_outside_any_test_has_no_symptom() -> None:
    found = symptom_of(TESTS, line_of("assert helper"), "AssertionError: assert None", {"parse"}, case="a")
    assert found is not None and found.code.startswith("# case: a\n")
    assert symptom_of(TESTS, 1, "x: y", {"parse"}) is None
    assert symptom_of("def (", 1, "x: y", {"parse"}) is None


def candidate(**fields: object) -> Candidate:
    right = "def total(cart):\n    return sum(item.price for item in cart)\n"
    wrong = right.replace("sum(item.price", "max(item.price")
    test = FileEdit(path="test_cart.py", content=TESTS)
    known = {"repo": "r", "base_commit": "b", "origin": "injected", "title": None, "names": ("total",), "tree": "t"}
    edits = {"gold": (FileEdit(path="cart.py", content=right),), "old": (FileEdit(path="cart.py", content=wrong),)}
    return Candidate.model_validate({**known, **edits, "tests": (test,), "visible": (test,), **fields})


def test_statements_report_two_different_symptoms_at_most_for_one_bug() -> None:
    ids = ["test_cart.py::test_total", "test_cart.py::test_refuses", "test_cart.py::test_parse[a]", "test_cart.py::test_parse[b]"]
    lines = dict(zip(ids, map(line_of, ("total(cart) == 3", "with pytest.raises", "assert helper", "assert helper")), strict=True))
    said = statement_of(candidate(), ids, dict.fromkeys(ids, "AssertionError: assert 4 == 3"), lines)
    assert said.count("```python") == 2
    assert said.splitlines()[0] == "wrong result from money.parse(); wrong result from total()"
    assert "To reproduce:" in said and "Also:" in said


def test_a_symptom_that_quotes_gold_is_left_out() -> None:
    name = "test_cart.py::test_total"
    leaking = {name: "AssertionError: return sum(item.price for item in cart)"}
    said = statement_of(candidate(), [name], leaking, {name: line_of("total(cart) == 3")})
    assert "sum(item.price" not in said
    assert said.startswith("wrong result in total")


SOURCE = """def used(a):
    if a:
        return 1
    return 2


def unused():
    return 3


START = used(0)
"""


def test_the_tracer_says_which_lines_ran_and_during_which_tests(tmp_path: Path) -> None:
    (tmp_path / "thing.py").write_text(SOURCE.replace("START = used(0)\n", ""))
    (tmp_path / "test_thing.py").write_text("import thing\n\n\ndef test_a():\n    assert thing.used(1) == 1\n\n\ndef test_b():\n    pass\n")
    argv = command("thing.py", ["test_thing.py"])
    done = subprocess.run([sys.executable, *argv[1:]], cwd=tmp_path, capture_output=True, text=True, check=True)
    reach = parse(CommandResult(exit_code=0, stdout=done.stdout, stderr="", seconds=0.0))
    assert reach is not None
    used, unused = symbols_of("thing.py", SOURCE)
    assert reach.tests_of(used) == ("test_thing.py::test_a",)
    assert reach.calls(used) and not reach.calls(unused)
    assert reach.ran(2, 3) and not reach.ran(4, 4)


def test_a_function_that_runs_at_import_belongs_to_no_test_in_particular() -> None:
    (used, _) = symbols_of("thing.py", SOURCE)
    assert Reach(lines=frozenset({2}), begun={1: ("", "t.py::test_a")}).tests_of(used) == ()


@pytest.mark.parametrize("said", ["", "nothing", f"{tracer.MARK}{{", f"{tracer.MARK}{json.dumps({'lines': [1]})}", f"{tracer.MARK}[]"])
def test_a_traced_run_that_ended_early_or_lied_tells_nothing(said: str) -> None:
    assert parse(CommandResult(exit_code=1, stdout=said, stderr="", seconds=0.0)) is None


def test_a_feature_is_asked_for_by_the_name_that_its_tests_import() -> None:
    tests = "from cart import peek, total\n\n\ndef test_total():\n    assert total([1]) == 1\n"
    tests += "\n\ndef test_peek():\n    assert peek([1, 2]) == 1\n"
    test = FileEdit(path="test_cart.py", content=tests)
    ids = ["test_cart.py::test_total", "test_cart.py::test_peek"]
    asked = candidate(tests=(test,), visible=(test,), wanted=(("peek", "cart.py"),), origin="commit")
    said = statement_of(asked, ids, {"test_cart.py": "ImportError: cannot import name 'peek'"})
    assert said.startswith("add peek to cart.py\n>>> peek([1, 2])\n1")
    titled = statement_of(asked.model_copy(update={"title": "Look before you take"}), ids, {})
    assert titled.startswith("Look before you take") and "peek" in titled
