"""Running an attempt: the visible tests of what it touches, and the examples that the issue gives."""

from __future__ import annotations

from collections.abc import Sequence

from forge.records import FileEdit, Record, Symbol, TestRun
from forge.rollouts.tree import TaskTree, module_of
from forge.seams import Sandbox
from forge.stages.checks import summary
from forge.stages.statements import examples_of

EXAMPLES_FILE = "test_issue_examples.py"


class CheckResult(Record):
    """`summary` is what review reads; `examples_right` is `None` when the issue has none that can be run."""

    summary: str
    examples_right: bool | None


async def check(box: Sandbox, tree: TaskTree, edits: Sequence[FileEdit], symbols: Sequence[Symbol], test_files: int) -> CheckResult:
    """What the tests and examples say about `edits`; the box's tree is put back afterwards."""
    examples = _examples_test(tree.task.statement, symbols)
    visible = tree.tests_of([edit.path for edit in edits], test_files)
    extra = [FileEdit(path=EXAMPLES_FILE, content=examples)] if examples else []
    if not visible and not extra:
        return CheckResult(summary="", examples_right=None)
    await box.write([*edits, *extra])
    run = await box.run_tests([*visible, *(edit.path for edit in extra)])
    await box.write([*tree.restored(edits), *(FileEdit(path=edit.path, content=None) for edit in extra)])
    return _read(run, bool(extra))


def _read(run: TestRun, has_examples: bool) -> CheckResult:
    examples = [outcome for node, outcome in run.outcomes.items() if node.startswith(EXAMPLES_FILE)]
    tests = [outcome for node, outcome in run.outcomes.items() if not node.startswith(EXAMPLES_FILE)]
    right = None
    if has_examples:
        right = bool(examples) and all(outcome == "passed" for outcome in examples)
    passed = sum(outcome == "passed" for outcome in tests)
    return CheckResult(summary=summary(passed, len(tests) - passed, right), examples_right=right)


def _examples_test(statement: str, symbols: Sequence[Symbol]) -> str:
    """A test module of the issue's doctests that call one of the symbols, empty when there is none."""
    tests, imports = [], []
    for number, example in enumerate(examples_of(statement)):
        symbol = next((s for s in symbols if s.path.endswith(".py") and example.call.startswith(f"{s.name}(")), None)
        if symbol is not None:
            imports.append(f"from {module_of(symbol.path)} import {symbol.name}")
            tests.append(f"def test_example_{number}():\n    assert ({example.call}) == ({example.expected})\n")
    return "\n".join([*dict.fromkeys(imports), "", "", *tests]) if tests else ""
