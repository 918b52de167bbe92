"""An issue solved in a work tree that no task stands behind: no hidden tests, so the review adapter is the judge of n answers."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from forge.config import AgentConfig, SandboxConfig
from forge.errors import ConfigError, TaskError
from forge.records import CommandResult, Environment, FileEdit, Record, Symbol, Task, Turn
from forge.rollouts.agent import NO_LIMITS, Attempt, Models, StagedAgent
from forge.rollouts.box import LazyBox
from forge.rollouts.checks import CheckResult
from forge.rollouts.tree import TaskTree
from forge.seams import ChatModel, ChatTokenizer, FindEnvironment, SandboxProvider, own_python
from forge.stages import REGISTRY
from forge.stages.source.languages import language_of
from forge.store.cache import Cache


class Question(Record):
    """What is asked of the agent."""

    statement: str
    samples: int = 1
    """Answers to choose from; the first is greedy, the others are sampled."""
    temperature: float = 0.8
    seed: int = 0
    seconds: float = 300.0
    """Wall clock after which the answers so far must do."""
    test: str = ""
    """A command that is run in a box on the chosen answer, as a shell splits it into words."""
    environment: Literal["none", "auto"] = "none"
    """Where tests and the command run: forge's own Python, or one with the packages that the tree's metadata asks for."""


class Progress(Record):
    """One thing that happened, as a person reads it."""

    kind: Literal["stage", "answer", "test", "note"]
    text: str
    sample: int = 0
    attempt: int = 0
    stage: str = ""
    seconds: float = 0.0


class Answer(Record):
    """One answer: a patch that applies, and how sure review is of it."""

    sample: int
    patch: str
    score: float
    edits: tuple[FileEdit, ...]


class Solution(Record):
    """What came of a question: the answers, best first, none when nothing applied; `tested` is the command's result."""

    answers: tuple[Answer, ...]
    reason: str = ""
    tested: CommandResult | None = None
    seconds: float = 0.0
    tokens: int = 0
    """Tokens that the model wrote."""

    @property
    def patch(self) -> str:
        """The best answer's unified diff; empty when there is none."""
        return self.answers[0].patch if self.answers else ""


Listen = Callable[[Progress], None]
FindSurroundings = Callable[[Path], Awaitable[Environment]]
"""The environment of a work tree, ready on this machine; raises a `ForgeError` that says why there is none."""


class Solver:
    """Answers questions against one endpoint and one sandbox provider; safe to use from many coroutines at once."""

    def __init__(
        self,
        *,
        model: ChatModel,
        tokenizers: Mapping[str, ChatTokenizer],
        models: Callable[[], Awaitable[Mapping[str, str]]],
        provider: SandboxProvider,
        agent: AgentConfig,
        sandbox: SandboxConfig,
        max_answer_tokens: Mapping[str, int],
        context_tokens: Mapping[str, int] = NO_LIMITS,
        run_id: str,
        cache: Cache | None = None,
        surroundings: FindSurroundings | None = None,
    ) -> None:
        """`models` says which model id answers for each stage when a question is begun; `cache` remembers large trees;
        `surroundings` finds environments for the questions that ask for one."""
        self._model, self._tokenizers, self._models, self._provider = model, tokenizers, models, provider
        self._agent, self._sandbox, self._max_answer_tokens, self._run_id = agent, sandbox, max_answer_tokens, run_id
        self._cache, self._context_tokens, self._surroundings = cache, context_tokens, surroundings

    async def solve(self, folder: Path, question: Question, listen: Listen) -> Solution:
        """Answers to `question` in the tree of `folder`, whose content must never change.

        Raises `ConfigError` for a test command that is none, `TaskError` for an environment that cannot be had, and what the seams raise.
        """
        began, command = time.monotonic(), _words(question.test)
        tree = await asyncio.to_thread(TaskTree, folder, _task(folder.name, question.statement), kept=False, cache=self._cache)
        listen(Progress(kind="note", text=_size(tree)))
        environments = await self._environments(folder, question, listen)
        found: list[Answer] = []
        reasons: list[str] = []
        written = [0]
        ids = await self._models()
        tries = [
            asyncio.create_task(self._one(tree, folder, question, environments, ids, n, listen, written)) for n in range(question.samples)
        ]
        try:
            async with asyncio.timeout(question.seconds):
                for done in asyncio.as_completed(tries):
                    answer = await done
                    if isinstance(answer, str):
                        reasons.append(answer)
                    else:
                        found.append(answer)
        except TimeoutError:
            reasons.append(f"the budget of {question.seconds:.0f} s is used up")
            listen(Progress(kind="note", text=reasons[-1]))
        finally:
            for task in tries:
                task.cancel()
            await asyncio.gather(*tries, return_exceptions=True)
        ranked = tuple(_distinct(sorted(found, key=lambda answer: (-answer.score, answer.sample))))
        tested = await self._tested(tree, folder, environments, ranked[0], command, listen) if ranked and command else None
        reason = "" if ranked else "; ".join(dict.fromkeys(reasons)) or "no answer"
        return Solution(answers=ranked, reason=reason, tested=tested, seconds=time.monotonic() - began, tokens=written[0])

    async def close(self) -> None:
        """End the provider and all its boxes."""
        await self._provider.close()

    async def _environments(self, folder: Path, question: Question, listen: Listen) -> FindEnvironment:
        """Where the question's boxes run code."""
        if question.environment == "none":
            return own_python
        if self._surroundings is None:
            raise TaskError("this agent builds no environments; ask without one")
        try:
            async with asyncio.timeout(question.seconds):
                found = await self._surroundings(folder)
        except TimeoutError as error:
            raise TaskError(
                f"the environment was not ready after {question.seconds:.0f} s; give the question more, or ask without one"
            ) from error
        listen(Progress(kind="note", text=_surrounding(found)))
        return lambda _: found

    async def _one(
        self,
        tree: TaskTree,
        folder: Path,
        question: Question,
        environments: FindEnvironment,
        ids: Mapping[str, str],
        number: int,
        listen: Listen,
        written: list[int],
    ) -> Answer | str:
        """One answer, or why there is none."""
        models = Models(
            ids=ids,
            max_answer_tokens=self._max_answer_tokens,
            context_tokens=self._context_tokens,
            temperature=question.temperature if number else 0.0,
            seed=question.seed + 1000 * number,
        )
        box = LazyBox(self._provider, folder, self._sandbox, self._run_id, tree.task, environments)

        def told(turn: Turn) -> None:
            written[0] += len(turn.completion_ids)
            listen(
                Progress(kind="stage", text=described(turn), sample=number, attempt=turn.attempt, stage=turn.stage, seconds=turn.seconds)
            )

        async def run(edits: Sequence[FileEdit], symbols: Sequence[Symbol]) -> CheckResult:
            return await box.check(tree, edits, symbols, self._agent.visible_test_files)

        try:
            work = await StagedAgent(self._model, self._tokenizers, models, self._agent, run, told).solve(tree)
        finally:
            await box.close()
        if work.handed_in is None:
            listen(Progress(kind="answer", text=f"no answer: {work.reason}", sample=number))
            return work.reason
        answer = _answer(tree, work.handed_in, number)
        listen(Progress(kind="answer", text=f"an answer, review {answer.score:.0%}", sample=number, attempt=work.handed_in.number))
        return answer

    async def _tested(
        self, tree: TaskTree, folder: Path, environments: FindEnvironment, answer: Answer, command: Sequence[str], listen: Listen
    ) -> CommandResult:
        box = LazyBox(self._provider, folder, self._sandbox, self._run_id, tree.task, environments)
        try:
            result = await box.run(answer.edits, command, self._sandbox.limits.command_s)
        finally:
            await box.close()
        said = (result.breach and f"stopped at its limit ({result.breach})") or f"exit code {result.exit_code}"
        listen(Progress(kind="test", text=f"{shlex.join(command)}: {said}", seconds=result.seconds))
        return result


def described(turn: Turn) -> str:
    """A turn in a line, as a person reads it."""
    if not turn.parsed:
        return "an answer that cannot be used"
    if REGISTRY[turn.stage].judgement:
        subject = turn.subject.splitlines()[0] if turn.subject else ""
        return f"{subject} {turn.score or 0.0:.0%}".strip()
    if turn.stage == "generation":
        lines = len(turn.text.splitlines())
        return f"{turn.subject}, {lines} line{'s' * (lines != 1)} written"
    return ", ".join(turn.subject.splitlines()) or " ".join(turn.text.split())[:120]


def _size(tree: TaskTree) -> str:
    languages = sorted({language for path in tree.files if (language := language_of(path))})
    files = f"{len(tree.files):,} file{'s' * (len(tree.files) != 1)}"
    return f"{len(tree.index):,} function{'s' * (len(tree.index) != 1)} in {files}{' of ' * bool(languages)}{', '.join(languages)}"


def _surrounding(environment: Environment) -> str:
    lacking = f"; no wheel for {', '.join(environment.lacking)}" if environment.lacking else ""
    return f"tests run under Python {environment.spec.python} with {len(environment.installed)} packages{lacking}"


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"the test command {command!r} cannot be split into words: {error}") from error


def _answer(tree: TaskTree, attempt: Attempt, sample: int) -> Answer:
    return Answer(sample=sample, patch=tree.patch(attempt.edits), score=attempt.score, edits=attempt.edits)


def _distinct(answers: Sequence[Answer]) -> list[Answer]:
    """The first answer of each patch, in order."""
    seen: dict[str, Answer] = {}
    for answer in answers:
        seen.setdefault(answer.patch, answer)
    return list(seen.values())


def _task(repo: str, statement: str) -> Task:
    """The question as the agent knows tasks: nothing is hidden, nothing proves it."""
    nothing: dict[str, tuple[str, ...]] = {"fail_to_pass": (), "pass_to_pass": (), "files": ()}
    return Task(
        id="question", repo=repo, base_commit="", origin="commit", statement=statement, statement_by="people", tree="", gold=(), tests=(),
        **nothing,
    )  # fmt: skip
