"""Published test code → a `Task` whose hidden tests it becomes, so that it is graded as forge's own tasks are.

The answer is a module of its own; its names stand in the test module too, since the published harnesses execute both in one
namespace. Tests that assert in the answer's process can be spoken for, so twins stand among them (`forge.exam`): for that
a `check(candidate)` becomes a test function, and each bare assertion one of its own.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Sequence

from forge.evals.suites.row import RowError
from forge.exam.alone import answer_task
from forge.records import Task

_CHECK = "check"


def check_task(name: str, gold: str, test: str, entry_point: str) -> Task:
    """Of a test that defines `check(candidate)`; a call of it at the end, as HumanEvalPack has it, is left out. Raises `RowError`."""
    tree = _parsed(test)
    body = [statement for statement in tree.body if not _calls_check(statement)]
    checks = [statement for statement in body if isinstance(statement, ast.FunctionDef) and statement.name == _CHECK]
    if len(checks) != 1 or len(checks[0].args.args) != 1:
        raise RowError("its test does not define check(candidate) once")
    checks[0].name = f"test_{_CHECK}"
    # With a default pytest takes the argument for no fixture.
    checks[0].args.defaults = [ast.Attribute(ast.Name("_answer", ast.Load()), entry_point, ast.Load())]
    source = ast.unparse(ast.fix_missing_locations(ast.Module(body, [])))
    return answer_task(name, gold, source, [checks[0].name])


def assertions_task(name: str, gold: str, setup: str, tests: Sequence[str]) -> Task:
    """Of assertions, each a test of its own, with `setup` before them. Raises `RowError`."""
    for test in tests:
        _parsed(test)
    functions = [f"def test_{number}():\n{textwrap.indent(test, '    ')}" for number, test in enumerate(tests)]
    _parsed(setup)
    return answer_task(name, gold, "\n\n".join([setup, *functions]), [f"test_{number}" for number in range(len(tests))])


def case_task(name: str, gold: str, test: str, case: str) -> Task:
    """Of a `unittest.TestCase` named `case`, all test methods of it. Raises `RowError`."""
    found = [node for node in _parsed(test).body if isinstance(node, ast.ClassDef) and node.name == case]
    methods = [node.name for node in found[-1].body if isinstance(node, ast.FunctionDef) and node.name.startswith("test")] if found else []
    if not methods:
        raise RowError(f"its test has no class {case} with test methods")
    return answer_task(name, gold, test, [f"{case}::{method}" for method in dict.fromkeys(methods)])


def _calls_check(statement: ast.stmt) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == _CHECK


def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise RowError(f"its tests are not Python ({error})") from None
