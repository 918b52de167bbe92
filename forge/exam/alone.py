"""An answer that is a module of its own, and test code for it → a `Task` whose hidden tests that code becomes.

The answer's names stand in the test module too, so that tests may be written as if both were one file. Tests that assert in
the answer's process can be spoken for, so twins stand among them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from forge.exam.twins import twins_of
from forge.records import FileEdit, Task

ANSWER = "answer.py"
TESTS = "tests/test_suite.py"
_NAMES = """import answer as _answer

globals().update({name: value for name, value in vars(_answer).items() if not name.startswith("__")})
"""


def answer_task(name: str, gold: str, test: str, tests: Sequence[str]) -> Task:
    """The task whose only file is `answer.py`; `tests` are the functions of `test` that count, `Case::method` for methods.

    In `test` the answer is `_answer`. The task's repository is what stands before a slash in `name`.
    """
    files = (FileEdit(path=TESTS, content=f"{_NAMES}\n{test}\n"),)
    ids = tuple(f"{TESTS}::{test}" for test in tests)
    digest = hashlib.sha256(f"{gold}\0{test}".encode("utf-8", "surrogatepass")).hexdigest()
    return Task(
        id=f"{name}-{digest[:8]}",
        repo=name.partition("/")[0],
        base_commit="",
        origin="commit",
        statement="",
        tree="",
        gold=(FileEdit(path=ANSWER, content=gold),),
        tests=files,
        fail_to_pass=ids,
        pass_to_pass=(),
        files=(ANSWER, TESTS),
        twins=twins_of(files, ids),
    )
