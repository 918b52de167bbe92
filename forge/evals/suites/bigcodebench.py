"""BigCodeBench: a function that uses libraries, examined by a `unittest.TestCase`.

Format: BigCodeBench v0.1.4 as bigcodebench 0.2.5 loads it. As there, an answer is calibrated: the stub of `code_prompt` comes
before it. Its problems want some 70 libraries; one whose published solution does not pass here is left out and counted, as
their harness reports ground truths that fail.
"""

from __future__ import annotations

from typing import Literal

from forge.evals.suites import extract
from forge.evals.suites.problem import Problem, UnitTests
from forge.evals.suites.row import Row, text
from forge.evals.suites.unit_tests import case_task
from forge.records import Message

SECONDS = 60.0
"""Wall clock of one `TestCase`; bigcodebench gives 240 s on machines that run many at once."""
_ASK = "Please provide a self-contained Python script that solves the following problem in a markdown code block:\n{task}\n"
"""bigcodebench's own words, of both kinds of prompt."""


def parse(row: Row, split: Literal["instruct", "complete"] = "instruct") -> Problem:
    """The problem of a row, asked in words (`instruct`) or by its docstring (`complete`); raises `RowError`."""
    name, entry_point, start = text(row, "task_id"), text(row, "entry_point"), text(row, "code_prompt")
    complete = text(row, "complete_prompt")
    task = text(row, "instruct_prompt").strip() if split == "instruct" else f"```\n{complete.strip()}\n```"
    gold = complete + "\n" + text(row, "canonical_solution")
    return Problem(
        id=name,
        suite="bigcodebench" if split == "instruct" else "bigcodebench-complete",
        messages=(Message(role="user", content=_ASK.format(task=task)),),
        exam=UnitTests(task=case_task(name, gold, text(row, "test"), "TestCases"), before=extract.stub(start)),
        entry_point=entry_point,
    )


def parse_complete(row: Row) -> Problem:
    """The same row as a prompt to complete; raises `RowError`."""
    return parse(row, "complete")


def answer(problem: Problem, said: str) -> str:
    """The script in what the model said."""
    return extract.program(said, problem.entry_point)
