"""LiveCodeBench, code generation: contest problems, solved by a program that reads standard input or by a method.

Format: the rows of code_generation_lite, `test.jsonl` to `test6.jsonl` (arXiv 2403.07974); public and private tests both count, as
there. The prompt is its generic one for chat models. A published row has no solution, so nothing can be proven beforehand.
"""

from __future__ import annotations

from typing import Any, Literal

from forge.evals.suites import extract
from forge.evals.suites.hidden_tests import read_tests
from forge.evals.suites.problem import Case, Problem, Program
from forge.evals.suites.row import Row, RowError, mapping, parsed, text
from forge.records import Message

SECONDS = 6.0
"""Wall clock of one case in LiveCodeBench's harness."""
_SYSTEM = (
    "You are an expert Python programmer. You will be given a question (problem specification) and will generate a correct Python "
    "program that matches the specification and passes all tests. You will NOT return anything except for the program."
)
_WITH_START = "You will use the following starter code to write the solution to the problem and enclose your code within delimiters."
_WITHOUT = (
    "Read the inputs from stdin solve the problem and write the answer to stdout (do not directly test on the sample inputs). "
    "Enclose your code within delimiters as follows."
)
_ASK = "### Question:\n{question}\n\n### Format: {how}\n```python\n{start}\n```\n\n### Answer: (use the provided format with backticks)\n\n"


def parse(row: Row) -> Problem:
    """The problem of a row; raises `RowError`."""
    question, start = text(row, "question_content"), text(row, "starter_code", empty=True)
    public = parsed(text(row, "public_test_cases"), "public_test_cases")
    tests = [*_cases(public), *_cases(read_tests(text(row, "private_test_cases")))]
    kinds = {kind for kind, _ in tests}
    if len(kinds) != 1:
        raise RowError("it has tests of two kinds" if kinds else "it has no tests")
    mode = kinds.pop()
    function = str(mapping(row, "metadata").get("func_name") or "")
    if mode == "call" and not function:
        raise RowError("its tests call a function that its metadata does not name")
    asked = _ASK.format(question=question, how=_WITH_START if start else _WITHOUT, start=start or "# YOUR CODE HERE")
    return Problem(
        id=text(row, "question_id"),
        suite="livecodebench",
        messages=(Message(role="system", content=_SYSTEM), Message(role="user", content=asked)),
        exam=Program(mode=mode, function=function, cases=tuple(case for _, case in tests)),
    )


def _cases(tests: Any) -> list[tuple[Literal["stdin", "call"], Case]]:
    if not isinstance(tests, list):
        raise RowError("its tests are no list")
    return [_case(test) for test in tests]


def _case(test: Any) -> tuple[Literal["stdin", "call"], Case]:
    fields = test if isinstance(test, dict) else {}
    given, wanted, kind = (fields.get(name) for name in ("input", "output", "testtype"))
    if not isinstance(given, str) or not isinstance(wanted, str) or kind not in ("stdin", "functional"):
        raise RowError("one of its tests has no input, output or testtype stdin or functional")
    if kind == "stdin":
        return "stdin", Case(input=given, output=wanted)
    for line in given.split("\n"):
        parsed(line, "test's input")
    parsed(wanted, "test's output")
    return "call", Case(input=given, output=wanted)


def answer(_: Problem, said: str) -> str:
    """The last code block: a model that thinks aloud ends with its answer."""
    return extract.last_block(said)
