"""Code in a model's text, what outputs are compared by, text metrics and what samples come to."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.evals.pass_at_k import pass_at_k
from forge.evals.suites import code_match, crosscodeeval, extract, humaneval, livecodebench, mbpp
from forge.evals.suites.problem import Case, Continuation, Program, Sample, Score
from forge.evals.suites.programs import GROUP, groups, mistake, wrong_lines, wrong_value
from forge.evals.suites.registry import SUITES, problems
from forge.evals.suites.scores import summed_up
from tests import suite_rows

BODY = "    return sum(values)\n"


@pytest.mark.parametrize(
    "said",
    [
        suite_rows.RIGHT["humaneval"],
        BODY,
        BODY + "\n\ndef main():\n    print(total([1]))\n",
        f"```python\n{BODY}```",
        f"<think>maybe ```python\ndef total(values): return 0\n``` or not</think>\nSo:\n{suite_rows.RIGHT['humaneval']}",
        "Use it so:\n```python\nprint(total([1]))\n```\nand it is\n```python\ndef total(values):\n    return sum(values)\n```",
        "def total(values):\n    return sum(values)\n",
        "```python\nfrom __future__ import annotations\n\ndef total(values: List[int]):\n    return sum(values)",
    ],
)
def test_a_right_answer_in_any_form_becomes_a_program_that_passes(said: str) -> None:
    problem = humaneval.parse(suite_rows.humaneval())
    space: dict = {}
    exec(humaneval.answer(problem, said), space)
    assert space["total"]([1, 2, 3]) == 6 and "main" not in space


@given(st.text(max_size=300))
def test_any_text_gives_an_answer_or_none_without_an_error(said: str) -> None:
    for name, suite in SUITES.items():
        (problem,) = problems(suite, [suite_rows.ROWS[name]()], "rows")
        assert isinstance(suite.answer(problem, said), str)


@given(st.text(alphabet=st.characters(exclude_characters="`~\r", exclude_categories=["Cs"]), max_size=200))
def test_a_fenced_block_comes_back_as_it_was(code: str) -> None:
    lines = code.replace("\x0b", "").replace("\x0c", "")
    assert extract.blocks(f"It is\n```python\n{lines}\n```\nthere.") == [f"{lines}\n"]


def test_thoughts_that_never_end_are_no_answer() -> None:
    assert extract.last_block("<think>\n```python\nprint(1)\n```") == ""
    assert livecodebench.answer(problems(SUITES["livecodebench"], [suite_rows.livecodebench()], "r")[0], "I cannot do that.") == ""


def test_mbpps_marks_and_blocks_are_both_understood() -> None:
    (problem,) = problems(SUITES["mbpp"], [suite_rows.mbpp()], "rows")
    for said in (suite_rows.RIGHT["mbpp"], "```\ndef helper(): pass\n```\n```\ndef test_larger(a, b):\n    return max(a, b)\n```"):
        assert "def test_larger" in mbpp.answer(problem, said) and "[DONE]" not in mbpp.answer(problem, said)


def test_a_completion_for_the_published_harness_does_not_repeat_the_prompt() -> None:
    problem = humaneval.parse(suite_rows.humaneval())
    answer = humaneval.answer(problem, BODY)
    assert answer == problem.start + BODY and humaneval.completion(problem, answer) == BODY


# Outputs


@pytest.mark.parametrize(
    ("expected", "printed", "right"),
    [
        ("3\n", "3", True),
        ("1 2\n3\n", " 1 2 \n3\n\n", True),
        ("0.5", "0.50", True),
        ("1 2", "1  2", True),
        ("50000000000000001", "50000000000000000", False),
        ("Yes", "yes", False),
        ("1\n2", "1", False),
        ("NaN", "nan", False),
        ("", "", True),
    ],
)
def test_printed_lines_are_compared_as_livecodebench_does(expected: str, printed: str, right: bool) -> None:
    assert (wrong_lines(expected, printed) == "") is right


@pytest.mark.parametrize(
    ("expected", "returned", "right"),
    [("[[1, 2]]", "[[1, 2]]", True), ("1", "1.0", True), ("2", "", False), ("[1]", '[{"no JSON": "{1}"}]', False), ('"a"', '"b"', False)],
)
def test_returned_values_are_compared_as_values(expected: str, returned: str, right: bool) -> None:
    assert (wrong_value(expected, returned) == "") is right


@given(st.lists(st.integers(0, 3 * 2**20), max_size=200))
def test_groups_hold_every_case_once_in_order_and_stay_small(sizes: list[int]) -> None:
    cases = [Case(input="", output=str(number)).model_copy(update={"input": _Long(size)}) for number, size in enumerate(sizes)]
    found = list(groups(cases))
    assert [case for group in found for case in group] == cases
    assert all(len(group) <= GROUP and (len(group) == 1 or sum(len(case.input) for case in group) <= 4 * 2**20) for group in found)
    assert not found or len(found[0]) == 1


class _Long(str):
    """A text that says how long it would be."""

    def __new__(cls, size: int) -> _Long:
        made = super().__new__(cls, "")
        made.size = size
        return made

    size: int

    def __len__(self) -> int:
        return self.size


def test_what_is_no_report_of_all_cases_is_a_failure_at_the_first_that_lacks() -> None:
    exam = Program(mode="stdin", cases=(Case(input="", output="1"), Case(input="", output="2")))
    assert mistake(exam, exam.cases, '[{"output": "1"}, {"output": "2"}]') == (0, "")
    assert mistake(exam, exam.cases, '[{"output": "1"}]') == (1, "it was not run")
    assert mistake(exam, exam.cases, '[{"output": "1"}, {"output": "1"}]') == (1, "line 1 is '1', not '2'")
    assert mistake(exam, exam.cases, '[{"output": "1", "cut": "time"}]') == (0, "it went over its time limit")
    for junk in ("", "1 passed", "{}", '[{"passed": true}]', '[{"output": "1"}]junk'):
        assert mistake(exam, exam.cases, junk) == (0, "what it printed is no list of outputs")


# Text


def continuation(expected: str = "cart.total(tax=True)", prompt: str = "x = 1\ny = ", language: str = "python") -> Continuation:
    return Continuation.model_validate({"prompt": prompt, "expected": expected, "language": language})


def test_a_completion_is_cut_at_the_first_statement() -> None:
    assert code_match.statement(continuation(), "f(1,\n  2)\nz = 3\n") == "f(1,\n  2)"
    assert code_match.statement(continuation(), "f(1") == "f(1"
    java = continuation(language="java")
    assert code_match.statement(java, "cart.total(); int b;") == "cart.total();"
    assert code_match.statement(java, "; more") == "; more", "upstream's quirk: a bracket in the first place ends nothing"


def test_scores_by_hand() -> None:
    found = code_match.scores(continuation(), "cart.total(tax=False)  # why\nmore()\n")
    # Identifiers are cart, total, tax and True or False (no keywords, as upstream's list has it): 3 of 4 are shared.
    assert (found["em"], found["id_em"], found["id_precision"], found["id_recall"]) == (0.0, 0.0, 0.75, 0.75)
    assert found["id_f1"] == 2 * 3 / (2 * 3 + 1 + 1)
    ratio = difflib.SequenceMatcher(None, "cart.total(tax=False)", "cart.total(tax=True)").ratio()
    assert found["es"] == round(100 * ratio) / 100
    assert set(code_match.scores(continuation(), "cart.total(tax=True)\nmore()\n").values()) == {1.0}


@given(st.text(max_size=60), st.text(max_size=60))
def test_scores_are_between_0_and_1_and_exact_matches_are_alike(completion: str, expected: str) -> None:
    found = code_match.scores(continuation(expected=expected), completion)
    assert all(0.0 <= value <= 1.0 for value in found.values())
    assert code_match.similarity(expected, expected) == 1.0


def test_keywords_and_strings_hold_no_identifiers() -> None:
    assert code_match.identifiers("return self.name + 'not this' or None", "python") == ["self", "name"]
    assert code_match.identifiers("return this.name;", "java") == ["name"]
    assert code_match.identifiers("const a = b;", "typescript") == ["a", "b"]


def test_a_code_block_is_no_part_of_a_completion() -> None:
    problem = problems(SUITES["crosscodeeval"], [suite_rows.crosscodeeval()], "rows")[0]
    assert crosscodeeval.answer(problem, "```python\ncart.total()\n```\nThat is it.") == "cart.total()"
    assert crosscodeeval.answer(problem, "cart.total()\n") == "cart.total()\n"


# Sums


def sample(problem: str, number: int, passed: bool, **changed: object) -> Sample:
    values = {"key": f"{problem}-{number}", "suite": "s", "problem": problem, "sample": number, "answer": "x"}
    return Sample.model_validate({**values, "score": Score(passed=passed, reason=""), **changed})


def summed(samples: list[Sample], problems: list[str], **counts: dict[str, int]):
    return summed_up("s", "m", problems, samples, **{"masked": {}, "unproven": {}, "settings": {}, **counts})


def test_pass_at_k_is_the_unbiased_mean_over_problems_with_enough_samples() -> None:
    samples = [sample("a", n, n < 2) for n in range(5)] + [sample("b", n, False) for n in range(5)] + [sample("c", 0, True)]
    result = summed(samples, ["a", "b", "c"])
    assert result.measures["pass@1"].value == pytest.approx((0.4 + 0 + 1) / 3) and result.measures["pass@1"].problems == 3
    assert result.measures["pass@5"].value == (pass_at_k(5, 2, 5) + 0) / 2 and result.measures["pass@5"].problems == 2
    assert "pass@10" not in result.measures and result.samples == 11


def test_one_sample_each_has_wilsons_interval_and_masked_samples_are_in_no_mean() -> None:
    samples = [sample("a", 0, True), sample("b", 0, False), Sample(key="c", suite="s", problem="c", sample=0, masked="gone")]
    result = summed(samples, ["a", "b", "c"], masked={"gone": 1}, unproven={"no numpy": 2})
    measure = result.measures["pass@1"]
    assert (measure.value, measure.problems, result.problems, result.samples) == (0.5, 2, 3, 2)
    assert (round(measure.ci95.low, 3), round(measure.ci95.high, 3)) == (0.095, 0.905)
    assert result.masked == {"gone": 1} and result.unproven == {"no numpy": 2}


def test_text_scores_are_means_over_problems_of_means_over_samples() -> None:
    def scored(problem: str, number: int, value: float) -> Sample:
        return sample(problem, number, False, score=Score(passed=False, reason="", values={"es": value}))

    result = summed([scored("a", 0, 1.0), scored("a", 1, 0.0), scored("b", 0, 1.0)], ["a", "b"])
    assert result.measures["es"].value == 0.75 and "pass@1" not in result.measures
    assert summed([], ["a"]).measures == {}


def test_cut_and_empty_answers_are_counted_and_stay_in_the_mean() -> None:
    result = summed([sample("a", 0, False, cut=True, answer=" "), sample("b", 0, True)], ["a", "b"])
    assert (result.cut, result.empty, result.measures["pass@1"].value) == (1, 1, 0.5)
