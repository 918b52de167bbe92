"""Asks a model one problem and examines its answer: in boxes what is run, here what is text. Answers never run in this process."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from forge.errors import EndpointError, SandboxError
from forge.evals.suites import code_match, extract, programs
from forge.evals.suites.problem import Continuation, Problem, Program, Sample, Score, UnitTests
from forge.evals.suites.registry import SUITES
from forge.exam.alone import ANSWER
from forge.records import FileEdit, Keyed, Limits, Message, Record, Task, Twin, Verdict
from forge.seams import Grader, Sandbox, SandboxProvider

T = TypeVar("T")
RUN = "evaluate"
PYTHON_S = 2.0
"""Wall clock that starting Python or pytest may take beside an examination's own."""
MOST_OUTPUT_BYTES, DISK_BYTES = 16 * 2**20, 256 * 2**20
LARGEST_ANSWER = 2**20
"""Characters of an answer; a longer one is a failure without being run."""


class Reply(Record):
    """What a model said, and whether it was cut short."""

    text: str
    cut: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Ask(Protocol):
    """A chat model under one name."""

    async def __call__(self, messages: Sequence[Message], seed: int) -> Reply:
        """Its reply, which may be empty; raises `EndpointError` when there is none."""


class Assigned(Keyed):
    """One sample to take."""

    problem: Problem
    sample: int
    seed: int


class Proven(Keyed):
    """What the published solution says of a problem's tests: the problem with the twins that fail as they must, or why it is left out."""

    problem: Problem | None
    refused: str = ""
    masked: str = ""
    """A box failed; nothing is known."""


class Examiner:
    """Safe to use from many coroutines at once. Every box starts from an empty work tree."""

    def __init__(
        self,
        ask: Ask,
        provider: SandboxProvider,
        make_grader: Callable[[Limits, Path], Grader],
        *,
        memory_bytes: int,
        retries: int,
        prompt_chars: int | None = None,
    ) -> None:
        """`make_grader` gets an empty folder as the tree of all tasks. `retries` are fresh boxes for what a box failed; `prompt_chars`
        is how much of a continuation's code is shown at most.
        """
        self._ask, self._provider, self._make_grader = ask, provider, make_grader
        self._folder = tempfile.TemporaryDirectory(prefix="forge-exam-")
        self._nothing = Path(self._folder.name)
        self._memory_bytes, self._retries, self._prompt_chars = memory_bytes, retries, prompt_chars
        self._graders: dict[float, Grader] = {}

    async def prove(self, problem: Problem) -> Proven:
        """Whether the published solution passes here, and which twins fail with it."""
        key, exam = problem.content_hash(), problem.exam
        if not isinstance(exam, UnitTests):
            return Proven(key=key, problem=problem)
        try:
            for kept in _fewer_twins(exam.task):
                task = exam.task.model_copy(update={"twins": kept})
                verdict = await self._patiently(partial(self._grader(problem).grade, task, task.gold))
                if verdict.passed:
                    return Proven(key=key, problem=problem.model_copy(update={"exam": exam.model_copy(update={"task": task})}))
        except SandboxError as error:
            return Proven(key=key, problem=None, masked=str(error))
        return Proven(key=key, problem=None, refused=f"its own solution does not pass here ({_kind(verdict)})")

    async def examine(self, assigned: Assigned) -> Sample:
        """The sample, scored; `masked` when the endpoint or boxes failed."""
        problem = assigned.problem
        sample = Sample(key=assigned.key, suite=problem.suite, problem=problem.id, sample=assigned.sample)
        try:
            reply = await self._ask(self._shown(problem), assigned.seed)
            text = _text(reply.text)
            answer = SUITES[problem.suite].answer(problem, text)
            score = await self._patiently(lambda: self._score(problem, answer))
        except (EndpointError, SandboxError) as error:
            return sample.model_copy(update={"masked": str(error)})
        return sample.model_copy(
            update={
                "text": text,
                "answer": answer,
                "score": score,
                "cut": reply.cut,
                "prompt_tokens": reply.prompt_tokens,
                "completion_tokens": reply.completion_tokens,
            }
        )

    async def close(self) -> None:
        """End the provider and all its boxes."""
        await self._provider.close()
        self._folder.cleanup()

    async def _score(self, problem: Problem, answer: str) -> Score:
        match problem.exam:
            case Continuation() as exam:
                values = code_match.scores(exam, answer)
                return Score(passed=values["em"] == 1.0, reason="compared as text", values=values)
            case _ if not answer.strip():
                return Score(passed=False, reason="there is no code in what the model said")
            case _ if len(answer) > LARGEST_ANSWER:
                return Score(passed=False, reason=f"its answer is longer than {LARGEST_ANSWER:,} characters")
            case UnitTests() as exam:
                edit = FileEdit(path=ANSWER, content=extract.joined(exam.before, answer))
                verdict = await self._grader(problem).grade(exam.task, [edit])
                return Score(passed=verdict.passed, reason=verdict.reason, seconds=round(verdict.seconds, 3))
            case Program() as exam:
                return await self._run_cases(exam, answer, SUITES[problem.suite].seconds)

    async def _run_cases(self, exam: Program, answer: str, seconds: float) -> Score:
        """Every case is a process of its own, a group of them one command; the first case that goes wrong decides."""
        took, done = 0.0, 0
        async with self._box(self._limits(programs.GROUP * seconds + PYTHON_S)) as box:
            for cases in programs.groups(exam.cases):
                given = programs.files(exam, answer, cases, seconds)
                await box.write([FileEdit(path=path, content=text) for path, text in given.items()])
                result = await box.run(["python", programs.RUNNER], timeout_s=len(cases) * seconds + PYTHON_S)
                took += result.seconds
                number, wrong = programs.mistake(exam, cases, result.stdout)
                if result.breach:
                    number, wrong = 0, f"it went over its {result.breach} limit"
                if wrong:
                    return Score(passed=False, reason=f"case {done + number + 1} of {len(exam.cases)}: {wrong}", seconds=round(took, 3))
                done += len(cases)
        return Score(passed=True, reason=f"all {done} cases are right", seconds=round(took, 3))

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` gives, tried again when a box fails it."""
        for _ in range(self._retries):
            try:
                return await work()
            except SandboxError:
                await asyncio.sleep(0.5)
        return await work()

    def _grader(self, problem: Problem) -> Grader:
        """A run holds the tests and at most two twins, each of which takes as long."""
        seconds = SUITES[problem.suite].seconds
        if seconds not in self._graders:
            self._graders[seconds] = self._make_grader(self._limits(3 * seconds + PYTHON_S), self._nothing)
        return self._graders[seconds]

    def _limits(self, seconds: float) -> Limits:
        return Limits(memory_bytes=self._memory_bytes, disk_bytes=DISK_BYTES, output_bytes=MOST_OUTPUT_BYTES, command_s=seconds)

    @contextlib.asynccontextmanager
    async def _box(self, limits: Limits) -> AsyncIterator[Sandbox]:
        box = await self._provider.open(self._nothing, limits=limits, run_id=RUN)
        try:
            yield box
        finally:
            await box.close()

    def _shown(self, problem: Problem) -> tuple[Message, ...]:
        """The problem's messages; of a continuation the last `prompt_chars` characters."""
        if self._prompt_chars is None or not isinstance(problem.exam, Continuation):
            return problem.messages
        *before, last = problem.messages
        return (*before, last.model_copy(update={"content": last.content[-self._prompt_chars :]}))


def _fewer_twins(task: Task) -> list[tuple[Twin, ...]]:
    """All twins, then each alone, then none."""
    alone: list[tuple[Twin, ...]] = [(twin,) for twin in task.twins] if len(task.twins) > 1 else []
    return [task.twins, *alone, *([()] if task.twins else [])]


def _kind(verdict: Verdict) -> str:
    """What went wrong, without the names of the tests: a reason that several problems share is counted once."""
    said = verdict.reason.rpartition(": ")[2] if "not pass" in verdict.reason else verdict.reason
    return said.splitlines()[0][:120]


def _text(said: str) -> str:
    """What a model said as a file can hold it: half of a surrogate pair is no character."""
    return said.encode("utf-8", "replace").decode()
