"""Grades without tests: what of the reference's change a patch makes too."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forge.exam.overlap import overlap

BEFORE = {"a.py": "def f(x):\n    y = x + 1\n    return y\n\n\ndef g(x):\n    return x\n"}
GOLD = {"a.py": "def f(x):\n    y = x - 1\n    return y\n\n\ndef g(x):\n    return x\n"}
FILES = st.dictionaries(st.sampled_from(("a.py", "b.py")), st.text(alphabet="ab\n :()def", max_size=40) | st.none(), max_size=2)


def test_the_same_change_passes_whatever_its_margins() -> None:
    found = overlap(BEFORE, GOLD, GOLD)
    assert (found.lines, found.symbols, found.changed, found.passed) == (1.0, 1.0, 2, True)


def test_another_change_of_the_right_line_is_half_of_it_and_fails() -> None:
    other = {"a.py": BEFORE["a.py"].replace("x + 1", "x * 1")}
    found = overlap(BEFORE, GOLD, other)
    assert (found.lines, found.symbols, found.passed) == (0.5, 1.0, False)


def test_a_change_elsewhere_shares_nothing() -> None:
    other = {"a.py": BEFORE["a.py"].replace("    return x\n", "    return -x\n")}
    found = overlap(BEFORE, GOLD, other)
    assert (found.lines, found.symbols, found.passed) == (0.0, 0.0, False)


def test_more_than_the_reference_costs_nothing_but_a_line_counts_once() -> None:
    more = {"a.py": GOLD["a.py"] + "    y = x - 1\n    y = x - 1\n"}
    assert overlap(BEFORE, GOLD, more).lines == 1.0
    twice = {"a.py": BEFORE["a.py"].replace("y = x + 1", "y = x - 1\n    y = x - 1")}
    assert overlap(BEFORE, {"a.py": twice["a.py"]}, GOLD).lines == 2 / 3


def test_files_that_come_and_go_are_lines_too() -> None:
    assert overlap({"a.py": "x = 1\n"}, {"a.py": None, "b.py": "x = 1\n"}, {"b.py": "x = 1\n"}).lines == 0.5


def test_a_reference_that_changes_nothing_is_passed_by_nobody() -> None:
    assert not overlap(BEFORE, BEFORE, BEFORE).passed


@given(FILES, FILES, FILES)
def test_shares_are_shares_and_the_reference_is_its_own(
    before: dict[str, str | None], gold: dict[str, str | None], made: dict[str, str | None]
) -> None:
    found = overlap(before, gold, made)
    assert 0.0 <= found.lines <= 1.0 and 0.0 <= found.symbols <= 1.0
    assert not found.changed or overlap(before, gold, gold).passed
