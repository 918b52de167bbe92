"""One rollout from assignment to trajectory: box, agent, grade, typed outcome. A bad rollout is data."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from forge.config import AgentConfig, SandboxConfig
from forge.errors import EndpointError, SandboxError
from forge.records import FileEdit, Outcome, Record, Symbol, Task, Trajectory, Verdict
from forge.rollouts.agent import NO_LIMITS, Models, StagedAgent, Work
from forge.rollouts.box import LazyBox
from forge.rollouts.checks import CheckResult
from forge.rollouts.tree import TaskTree
from forge.seams import ChatModel, ChatTokenizer, FindEnvironment, Grader, SandboxProvider, own_python

T = TypeVar("T")

TREES = 512
"""Task trees that a runner keeps, each with its index."""


class Assignment(Record):
    """One rollout to do; `step`, task and `sample` name it across restarts."""

    task: Task
    step: str
    round: int
    sample: int
    seed: int
    temperature: float
    models: dict[str, str]
    """Model id for each stage."""
    agent: AgentConfig | None = None
    """The scaffold's settings; the runner's own when not given."""


class Runner:
    """Does assignments against one endpoint and one sandbox provider; safe to use from many coroutines at once.

    The same edits on the same task are run and graded once: results are kept by content for the runner's life.
    """

    def __init__(
        self,
        *,
        model: ChatModel,
        tokenizers: Mapping[str, ChatTokenizer],
        provider: SandboxProvider,
        grader: Grader,
        tree_folder: Callable[[str], Path],
        agent: AgentConfig,
        sandbox: SandboxConfig,
        max_answer_tokens: Mapping[str, int],
        context_tokens: Mapping[str, int] = NO_LIMITS,
        hidden: Mapping[str, Collection[str]],
        run_id: str,
        environments: FindEnvironment = own_python,
    ) -> None:
        self._model, self._tokenizers, self._provider, self._grader = model, tokenizers, provider, grader
        self._tree_folder, self._agent, self._sandbox = tree_folder, agent, sandbox
        self._max_answer_tokens, self._hidden, self._run_id = max_answer_tokens, hidden, run_id
        self._environments, self._context_tokens = environments, context_tokens
        self._trees: dict[str, TaskTree] = {}
        self._once = _Once()

    async def roll_out(self, assignment: Assignment) -> Trajectory:
        """The trajectory of an assignment; infrastructure errors are retried with a fresh box, then typed."""
        began, used = time.monotonic(), _Used()
        for retry in range(self._sandbox.infra_retries + 1):
            try:
                async with asyncio.timeout(self._sandbox.rollout_s):
                    trajectory = await self._once_through(assignment, used)
                break
            except (SandboxError, EndpointError, TimeoutError) as error:
                reason = str(error) or f"no end after {self._sandbox.rollout_s:.0f} s"
                trajectory = _trajectory(assignment, Work(turns=(), handed_in=None, attempts=0), Outcome.INFRA_ERROR, reason)
                await asyncio.sleep(min(2.0**retry, 8.0) * 0.5)
        return trajectory.model_copy(update={"infra_retries": retry, "seconds": time.monotonic() - began, "box_s": used.box_s})

    async def close(self) -> None:
        """End the provider and all its boxes."""
        await self._provider.close()

    async def _once_through(self, assignment: Assignment, used: _Used) -> Trajectory:
        tree = self._tree(assignment.task)
        box = LazyBox(
            self._provider, self._tree_folder(assignment.task.tree), self._sandbox, self._run_id, assignment.task, self._environments
        )
        models = Models(
            ids=assignment.models,
            max_answer_tokens=self._max_answer_tokens,
            context_tokens=self._context_tokens,
            temperature=assignment.temperature,
            seed=assignment.seed,
        )

        agent = assignment.agent or self._agent
        shown = 0 if assignment.task.soft else agent.visible_test_files

        async def run(edits: Sequence[FileEdit], symbols: Sequence[Symbol]) -> CheckResult:
            key = _key(f"check {shown}", assignment.task.id, edits)
            return await self._once.get(key, lambda: box.check(tree, edits, symbols, shown))

        try:
            work = await StagedAgent(self._model, self._tokenizers, models, agent, run).solve(tree)
        finally:
            await box.close()
            used.box_s += box.open_s
        if work.handed_in is None:
            return _trajectory(assignment, work, Outcome.AGENT_ERROR, work.reason)
        edits = work.handed_in.edits
        verdict = await self._once.get(_key("grade", assignment.task.id, edits), lambda: self._grade(assignment.task, edits, used))
        outcome = Outcome.SOLVED if verdict.passed else Outcome.FAILED
        return _trajectory(assignment, work, outcome, verdict.reason, verdict, tree.patch(edits))

    async def _grade(self, task: Task, edits: Sequence[FileEdit], used: _Used) -> Verdict:
        began = time.monotonic()
        try:
            return await self._grader.grade(task, edits)
        finally:
            used.box_s += time.monotonic() - began

    def _tree(self, task: Task) -> TaskTree:
        if task.id not in self._trees:
            if len(self._trees) >= TREES:
                del self._trees[next(iter(self._trees))]  # made longest ago: a step's samples of a task follow each other
            hidden = self._hidden.get(task.repo, ()) if task.side == "train" else ()
            self._trees[task.id] = TaskTree(self._tree_folder(task.tree), task, hidden)
        return self._trees[task.id]


@dataclass
class _Used:
    """What a rollout took, retries included."""

    box_s: float = 0.0


class _Once:
    """Results by key, each computed once even when asked for twice at the same time; failures are not kept."""

    def __init__(self) -> None:
        self._results: dict[str, asyncio.Future[Any]] = {}

    async def get(self, key: str, compute: Callable[[], Awaitable[T]]) -> T:
        while key in self._results:
            kept = self._results[key]
            try:
                return await asyncio.shield(kept)
            except (asyncio.CancelledError, SandboxError):
                if self._results.get(key) is kept and not kept.done():
                    raise
                await asyncio.sleep(0)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._results[key] = future
        try:
            result = await compute()
        except BaseException as error:
            del self._results[key]
            future.set_exception(error if isinstance(error, SandboxError) else SandboxError(f"the other rollout's run ended: {error!r}"))
            future.exception()  # mark as seen: nobody may be waiting
            raise
        future.set_result(result)
        return result


def _key(kind: str, task_id: str, edits: Sequence[FileEdit]) -> str:
    body = "".join(sorted(edit.content_hash() for edit in edits))
    return hashlib.sha256(f"{kind}:{task_id}:{body}".encode()).hexdigest()


def _trajectory(
    assignment: Assignment, work: Work, outcome: Outcome, reason: str, verdict: Verdict | None = None, patch: str = ""
) -> Trajectory:
    handed_in = work.handed_in
    name = f"{assignment.step}:{assignment.task.id}:{assignment.sample}"
    return Trajectory(
        id=hashlib.sha256(name.encode()).hexdigest()[:16],
        task_id=assignment.task.id,
        repo=assignment.task.repo,
        round=assignment.round,
        step=assignment.step,
        sample=assignment.sample,
        seed=assignment.seed,
        temperature=assignment.temperature,
        turns=work.turns,
        edits=handed_in.edits if handed_in else (),
        patch=patch,
        outcome=outcome,
        reason=reason,
        review_score=handed_in.score if handed_in else None,
        repairs=max(0, work.attempts - 1),
        verdict=verdict,
    )
