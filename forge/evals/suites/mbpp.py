"""MBPP: a function from one sentence and three assertions.

Formats: google-research's `mbpp.jsonl` (`text`, `test_setup_code`) and `sanitized-mbpp.json` (`prompt`, `test_imports`), which are
those of the hub; MBPP+ has the latter's fields, of which the same assertions are graded. As in the paper, of the whole set its
test split counts (ids 11 to 510); MBPP+ is used as a whole. The prompt's words are the paper's
(arXiv 2108.07732, section 3.1), without its three examples.
"""

from __future__ import annotations

import ast
import builtins

from forge.evals.suites import extract
from forge.evals.suites.problem import Problem, UnitTests
from forge.evals.suites.row import Row, identifier, text, texts
from forge.evals.suites.unit_tests import assertions_task
from forge.records import Message

SECONDS = 10.0
TEST_IDS = range(11, 511)
_ASK = (
    "You are an expert Python programmer, and here is your task: {task} Your code should pass these tests:\n\n{tests}\n\n"
    "Answer with one Python code block."
)


def parse(row: Row) -> Problem:
    """The problem of a row of either format; raises `RowError`."""
    name = f"Mbpp/{identifier(row, 'task_id').removeprefix('Mbpp/')}"
    tests = texts(row, "test_list")
    setup = "\n".join([text(row, "test_setup_code", empty=True)] if row.get("test_setup_code") else texts(row, "test_imports", empty=True))
    # Published solutions have Windows line ends here and there.
    gold = text(row, "code").replace("\r\n", "\n").replace("\r", "\n")
    return Problem(
        id=name,
        suite="mbpp",
        messages=(Message(role="user", content=_ASK.format(task=text(row, "text", "prompt").strip(), tests="\n".join(tests))),),
        exam=UnitTests(task=assertions_task(name, gold, setup, tests)),
        entry_point=called(tests[0]),
    )


def is_test(row: Row) -> bool:
    """Whether a row is of the test split; what has no number is left for `parse` to refuse. MBPP+ alone has a field `test`."""
    number = str(row.get("task_id")).removeprefix("Mbpp/")
    return "test" in row or not number.isdigit() or int(number) in TEST_IDS


def called(test: str) -> str:
    """The name of the function that an assertion is about: the first one called that Python does not bring."""
    calls = [node.func.id for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return next((name for name in calls if not hasattr(builtins, name)), "")


def answer(problem: Problem, said: str) -> str:
    """The program in what the model said: between the paper's marks, in a code block, or all of it."""
    after = said.partition("[BEGIN]")[2]
    return extract.program(after.partition("[DONE]")[0] if after else said, problem.entry_point)
