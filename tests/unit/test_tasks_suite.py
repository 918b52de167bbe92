from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.errors import TaskError
from forge.tasks.suite import Suite, functions_in, source_of, whole_suite, without
from tests.small_repos import suite

TEXT = """import pytest


@pytest.mark.parametrize("x", [1, 2])
def test_one(x):
    assert x


class TestGroup:
    def test_two(self):
        assert True

    def test_three(self):
        assert True


class TestAlone:
    @staticmethod
    def test_four():
        assert True


LAST = 1
"""


def test_ids_become_qualified_names_of_one_file() -> None:
    ids = ["t.py::test_one[1]", "t.py::test_one[2]", "t.py::TestGroup::test_two", "u.py::test_other", "t.py"]
    assert functions_in(ids, "t.py") == ["test_one", "TestGroup.test_two"]


def test_named_functions_are_cut_out_with_their_decorators_and_emptied_classes() -> None:
    rest = without(TEXT, ["test_one", "TestGroup.test_two", "TestAlone.test_four"])
    names = {node.name for node in ast.walk(ast.parse(rest)) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert names == {"TestGroup", "test_three"}
    assert "parametrize" not in rest
    assert rest.endswith("LAST = 1\n")


def test_a_test_file_that_does_not_parse_is_refused() -> None:
    with pytest.raises(TaskError, match="does not parse"):
        without("def test_(:\n", ["test_"])


def test_source_of_methods_loses_its_margin() -> None:
    assert source_of(TEXT, ["TestGroup.test_three"]) == "def test_three(self):\n    assert True\n"


@given(st.sets(st.sampled_from(["test_total_x", "test_highest_x", "test_clamp_x"])))
def test_what_is_cut_out_and_what_stays_make_the_whole_suite(names: set[str]) -> None:
    text = suite("x")
    left = {node.name for node in ast.parse(without(text, names)).body if isinstance(node, ast.FunctionDef)}
    assert left == {"test_total_x", "test_highest_x", "test_clamp_x"} - names


def test_tests_belong_to_a_file_by_name_and_where_names_clash_by_import() -> None:
    files = {
        "src/pkg/apple.py": b"",
        "src/other/apple.py": b"",
        "src/pkg/pear.py": b"",
        "src/pkg/plum.py": b"",
        "tests/test_apple.py": b"from pkg.apple import f\n",
        "tests/other/test_apple.py": b"import other.apple\n",
        "tests/test_fruit.py": b"from pkg import pear\n",
        "tests/conftest.py": b"from pkg import plum\n",
    }
    suite_ = Suite(files)
    assert suite_.tests_for("src/pkg/apple.py") == ["tests/test_apple.py"]
    assert suite_.tests_for("src/other/apple.py") == ["tests/other/test_apple.py"]
    assert suite_.tests_for("src/pkg/pear.py") == ["tests/test_fruit.py"]
    assert suite_.tests_for("src/pkg/plum.py") == []


def test_the_whole_suite_is_what_a_plain_run_of_pytest_is_meant_for() -> None:
    tests = {"tests/test_a.py": b"", "bench/test_b.py": b"", "src/pkg/tests/test_c.py": b"", "docs/test_d.py": b""}
    assert whole_suite(tests) == ["src/pkg/tests/test_c.py", "tests/test_a.py"]
    named = b"[tool.pytest.ini_options]\ntestpaths = ['tests/', 'bench']\n"
    assert whole_suite({**tests, "pyproject.toml": named}) == ["bench/test_b.py", "tests/test_a.py"]
    assert whole_suite({**tests, "setup.cfg": b"[tool:pytest]\ntestpaths = src\n"}) == ["src/pkg/tests/test_c.py"]
    assert whole_suite({**tests, "pytest.ini": b"[pytest\n", "tox.ini": b"[pytest]\ntestpaths = nowhere\n"}) == whole_suite(tests)
