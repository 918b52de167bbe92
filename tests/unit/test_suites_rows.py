"""Rows of public suites: what becomes of the published schemas, and the sentence for a row that has another one."""

from __future__ import annotations

import base64
import gzip
import json
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.config import EvaluationConfig
from forge.errors import ConfigError
from forge.evals.suites import humaneval, livecodebench, mbpp
from forge.evals.suites.hidden_tests import pickled_text, read_tests
from forge.evals.suites.problem import Case, Continuation, Program, UnitTests
from forge.evals.suites.registry import SUITES, problems
from forge.evals.suites.row import RowError
from jobs.evaluation.rows import check_rows, read_problems
from tests import suite_rows

NEEDED = {
    "humaneval": ("task_id", "prompt", "entry_point", "canonical_solution", "test"),
    "humanevalfix": ("task_id", "declaration", "buggy_solution", "canonical_solution", "test"),
    "mbpp": ("test_list", "code"),
    "bigcodebench": ("instruct_prompt", "complete_prompt", "code_prompt", "test"),
    "bigcodebench-complete": ("complete_prompt", "canonical_solution"),
    "livecodebench": ("question_content", "question_id", "public_test_cases", "private_test_cases"),
    "crosscodeeval": ("prompt", "groundtruth", "metadata"),
}


@pytest.mark.parametrize("name", SUITES)
def test_a_row_of_the_published_schema_is_a_problem_whose_tests_are_not_in_its_prompt(name: str) -> None:
    (problem,) = problems(SUITES[name], [suite_rows.ROWS[name]()], "rows")
    asked = "\n".join(message.content for message in problem.messages)
    assert problem.suite == name and asked
    match problem.exam:
        case UnitTests(task=task):
            assert len(task.twins) == 2 and task.fail_to_pass
            assert task.gold[0].content and task.gold[0].content not in asked
        case Program(cases=cases):
            assert len(cases) == 3
        case Continuation(expected=expected):
            assert expected not in asked and "shop/cart.py" in asked


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, fields in NEEDED.items() for field in fields])
def test_a_row_without_a_field_is_refused_by_number_suite_and_field(name: str, field: str) -> None:
    row = suite_rows.ROWS[name]()
    del row[field]
    with pytest.raises(ConfigError, match=rf"row 2 of rows is no problem of {name}: .*{field}"):
        problems(SUITES[name], [suite_rows.ROWS[name](**_renamed(name)), row], "rows")


def _renamed(name: str) -> dict[str, Any]:
    if name == "livecodebench":
        return {"question_id": "other"}
    if name == "crosscodeeval":
        return {"metadata": {"task_id": "other", "file": "a.py"}}
    return {"task_id": 13 if name == "mbpp" else "Python/1"}


def test_two_rows_of_one_problem_are_refused() -> None:
    with pytest.raises(ConfigError, match="has HumanEval/0 twice"):
        problems(SUITES["humaneval"], [suite_rows.humaneval()] * 2, "rows")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (suite_rows.humaneval(test="def verify(f):\n    assert f([]) == 0\n"), "does not define check"),
        (suite_rows.humaneval(test="def check(candidate:\n"), "not Python"),
        (suite_rows.humaneval(prompt=7), "no text prompt"),
    ],
)
def test_tests_that_cannot_be_run_are_refused(row: dict[str, Any], said: str) -> None:
    with pytest.raises(RowError, match=said):
        humaneval.parse(row)


def test_humanevalfix_takes_python_only_and_shows_the_bug_and_the_tests() -> None:
    problem = humaneval.parse_fix(suite_rows.humanevalfix())
    assert "return 3 * value" in problem.messages[0].content and "assert double(2) == 4" in problem.messages[0].content
    with pytest.raises(RowError, match="Python part"):
        humaneval.parse_fix(suite_rows.humanevalfix(task_id="Rust/0"))


def test_mbpp_takes_both_formats_and_evaluates_on_the_test_split() -> None:
    suite = SUITES["mbpp"]
    rows = [suite_rows.mbpp(task_id=number) for number in (10, 11, 510, 511)]
    assert [problem.id for problem in problems(suite, rows, "rows")] == ["Mbpp/11", "Mbpp/510"]
    plus = suite_rows.sanitized_mbpp(task_id="Mbpp/2", test="assertion(...)")
    (problem,) = problems(suite, [plus], "rows")
    assert problem.id == "Mbpp/2" and problem.entry_point == "test_larger"
    assert isinstance(problem.exam, UnitTests) and "import math" in str(problem.exam.task.tests[0].content)
    with pytest.raises(ConfigError, match="holds no row that mbpp evaluates on"):
        problems(suite, [suite_rows.mbpp(task_id=600)], "rows")


def test_the_function_that_an_assertion_is_about_is_none_of_pythons_own() -> None:
    assert mbpp.called("assert set(shared((1, 2), (2, 3))) == set((2,))") == "shared"
    assert mbpp.called("assert sorted([2, 1]) == [1, 2]") == ""


def test_livecodebench_reads_both_kinds_of_tests() -> None:
    stdin, call = livecodebench.parse(suite_rows.livecodebench()), livecodebench.parse(suite_rows.livecodebench_call())
    assert isinstance(stdin.exam, Program) and (stdin.exam.mode, stdin.exam.cases[1]) == ("stdin", Case(input="3\n1 2 3", output="6"))
    assert isinstance(call.exam, Program) and (call.exam.mode, call.exam.function, len(call.exam.cases)) == ("call", "pairs", 2)
    assert "class Solution" in call.messages[-1].content and "Read the inputs from stdin" in stdin.messages[-1].content


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"metadata": "{}"}, "does not name"),
        ({"private_test_cases": json.dumps([{"input": "1", "output": "1", "testtype": "stdin"}])}, "two kinds"),
        ({"private_test_cases": json.dumps([{"input": "[1", "output": "1", "testtype": "functional"}])}, "not JSON"),
        ({"public_test_cases": "[]", "private_test_cases": "[]"}, "no tests"),
        ({"public_test_cases": "{}"}, "no list"),
        ({"public_test_cases": json.dumps([{"input": 1}])}, "no input, output or testtype"),
    ],
)
def test_tests_of_livecodebench_that_do_not_fit_are_refused(changed: dict[str, Any], said: str) -> None:
    row = suite_rows.livecodebench_call() | changed
    with pytest.raises(RowError, match=said):
        livecodebench.parse(row)


# Packed tests


@given(st.text(max_size=400), st.sampled_from(range(pickle.HIGHEST_PROTOCOL + 1)))
def test_a_pickled_text_of_any_protocol_is_read_without_unpickling(text: str, protocol: int) -> None:
    if not any(0xD800 <= ord(letter) <= 0xDFFF for letter in text):
        assert pickled_text(pickle.dumps(text, protocol)) == text


class Opens:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize("value", [Opens(), ["text"], 7, {"a": 1}, b"bytes", ("[]", "[]")])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_does_anything_else_is_refused_and_not_run(
    value: object, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    packed = base64.b64encode(zlib.compress(pickle.dumps(value, protocol))).decode()
    with pytest.raises(RowError, match="does more than hold a text"):
        read_tests(packed)
    assert list(tmp_path.iterdir()) == []


@given(st.binary(max_size=80))
def test_bytes_that_are_no_pickle_are_refused(junk: bytes) -> None:
    try:
        text = pickled_text(junk)
    except RowError:
        return
    assert isinstance(text, str)


@pytest.mark.parametrize(
    "field",
    ["", "not JSON", base64.b64encode(b"plain").decode(), base64.b64encode(zlib.compress(pickle.dumps("[]"))[:-4]).decode()],
)
def test_a_broken_field_of_tests_is_one_sentence(field: str) -> None:
    with pytest.raises(RowError, match="private tests"):
        read_tests(field)


# Files


def _written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize(
    "file", ["rows.jsonl", "rows.jsonl.gz", "rows.json", "rows.parquet", "many/humaneval.jsonl", "many/humaneval/test.parquet"]
)
def test_rows_are_read_from_every_kind_of_file(file: str, tmp_path: Path) -> None:
    path = _written(tmp_path / file, [suite_rows.humaneval(), suite_rows.humaneval(task_id="HumanEval/1")])
    data = tmp_path / "many" if file.startswith("many") else path
    config = EvaluationConfig(suites=("humaneval",), data=str(data))
    check_rows(config, "humaneval")
    assert [problem.id for problem in read_problems(config, "humaneval")] == ["HumanEval/0", "HumanEval/1"]
    assert len(read_problems(config.model_copy(update={"limit": 1}), "humaneval")) == 1


def test_a_folder_of_jsonl_files_is_one_set_in_the_order_of_their_names(tmp_path: Path) -> None:
    _written(tmp_path / "lcb/test2.jsonl", [suite_rows.livecodebench_call()])
    _written(tmp_path / "lcb/test.jsonl", [suite_rows.livecodebench()])
    config = EvaluationConfig(suites=("livecodebench",), data=str(tmp_path / "lcb"))
    assert [problem.id for problem in read_problems(config, "livecodebench")] == ["abc001_a", "3000"]


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    both = ("humaneval", "mbpp")
    with pytest.raises(ConfigError, match="there is no"):
        check_rows(EvaluationConfig(suites=("mbpp",), data=str(tmp_path / "nowhere.jsonl")), "mbpp")
    with pytest.raises(ConfigError, match="holds nothing named mbpp"):
        check_rows(EvaluationConfig(suites=both, data=str(tmp_path)), "mbpp")
    with pytest.raises(ConfigError, match="not on the hub in a form"):
        check_rows(EvaluationConfig(suites=("crosscodeeval",)), "crosscodeeval")
    (tmp_path / "torn.jsonl").write_text(json.dumps(suite_rows.mbpp()) + '\n{"task_id": 13')
    with pytest.raises(ConfigError, match=r"row 2 of .*torn.jsonl is a line that is not JSON"):
        read_problems(EvaluationConfig(suites=("mbpp",), data=str(tmp_path / "torn.jsonl")), "mbpp")
    with pytest.raises(ConfigError, match=r"row 1 of .* is no problem of humaneval"):
        check_rows(EvaluationConfig(suites=("humaneval",), data=str(_written(tmp_path / "m.jsonl", [suite_rows.mbpp()]))), "humaneval")
