"""A problem of a suite: what the model is asked, and how its answer is examined."""

from __future__ import annotations

from typing import Literal

from forge.records import Keyed, Message, Record, Task


class UnitTests(Record):
    """Examined by the suite's own tests, which stand as hidden tests in `task`; the answer becomes its file `answer.py`.

    `task.gold` is the published solution, by which tests and twins are proven before anything is graded.
    """

    kind: Literal["unit_tests"] = "unit_tests"
    task: Task
    before: str = ""
    """Source that stands before the answer."""


class Case(Record):
    """One input and what must come of it. `stdin`: both are texts. `call`: one JSON value a line, and one JSON value."""

    input: str
    output: str


class Program(Record):
    """Examined by what it prints or returns, compared outside the box: no expected output is ever in it."""

    kind: Literal["program"] = "program"
    mode: Literal["stdin", "call"]
    cases: tuple[Case, ...]
    function: str = ""
    """What `call` calls: a method of `Solution` where the answer has that class, else a function."""


class Continuation(Record):
    """Examined as text: how near it is to what stood there."""

    kind: Literal["continuation"] = "continuation"
    prompt: str
    expected: str
    language: Literal["python", "java", "csharp", "typescript"]


class Problem(Record):
    """One problem. `entry_point` is the name that the answer has to define, where there is one."""

    id: str
    suite: str
    messages: tuple[Message, ...]
    exam: UnitTests | Program | Continuation
    entry_point: str = ""
    start: str = ""
    """Source that an answer which is no whole program goes on from."""
    stop: tuple[str, ...] = ()
    """Such an answer ends before the first of these."""


class Score(Record):
    """What an answer is worth: `passed` for the suites that run it, `values` from 0 to 1 for those that compare text."""

    passed: bool
    reason: str
    values: dict[str, float] = {}
    seconds: float = 0.0


class Sample(Keyed):
    """One answer of a model, examined; or, with `masked`, the reason why there is no score, which is nobody's failure."""

    suite: str
    problem: str
    sample: int
    text: str = ""
    answer: str = ""
    """The code that was taken out of `text`, or the patch."""
    score: Score | None = None
    masked: str = ""
    cut: bool = False
    """The model ran into the limit of tokens."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
