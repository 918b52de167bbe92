"""Statements by the teacher for proven tasks that only their tests describe."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from forge.config import ForgeConfig
from forge.endpoint.teacher import OpenAITeacher
from forge.errors import HistoryError
from forge.mining.history import open_history
from forge.observe.progress import PhaseProgress
from forge.records import FileEdit, Task
from forge.seams import Teacher
from forge.store.parquet import write_tasks
from forge.store.trees import TreeStore
from forge.store.workspace import Workspace
from forge.tasks.issue import issues
from forge.teacher.spent import Spent


@dataclass
class Told:
    """How it went: tasks told anew, tasks left as they were by reason, and what asking took."""

    written: int = 0
    left: Counter[str] = field(default_factory=Counter)
    spent: Spent = field(default_factory=Spent)


def waiting(config: ForgeConfig, tasks: Collection[Task]) -> list[Task]:
    """The tasks that the configured teacher has something to say about; none without a teacher."""
    return [task for task in tasks if task.statement_by == "tests"] if config.teacher.model else []


def tell(
    config: ForgeConfig, workspace: Workspace, tasks: Sequence[Task], repos: Mapping[str, Path], file: Path, phase: PhaseProgress
) -> list[Task]:
    """The same tasks in their order, those of `waiting` with an issue where the teacher wrote a good one; written to `file`.

    Answers are kept in the workspace: what an earlier run asked is not asked again. Raises `TeacherRefusedError`.
    """
    poor = waiting(config, tasks)
    before = {task.id: _before(TreeStore(workspace.trees), task) for task in poor}
    phase.total(len(poor), unit="tasks")
    told = Told()
    anew = asyncio.run(_ask(OpenAITeacher(config.teacher, workspace.teacher), poor, before, _messages(poor, repos), told, phase))
    kept = [f"{number} keep theirs ({reason})" for reason, number in told.left.most_common()]
    phase.result(
        "; ".join(
            [
                f"{told.written} of {len(poor)} by {config.teacher.model}",
                *kept,
                told.spent.told(config.teacher.prompt_price, config.teacher.answer_price),
            ]
        )
    )
    result = [anew.get(task.id, task) for task in tasks]
    write_tasks(file, result)
    return result


async def _ask(
    teacher: Teacher,
    poor: Sequence[Task],
    before: Mapping[str, Sequence[FileEdit]],
    messages: Mapping[str, str],
    told: Told,
    phase: PhaseProgress,
) -> dict[str, Task]:
    anew: dict[str, Task] = {}
    try:
        async for issue in issues(teacher, poor, before, messages):
            told.spent += issue.spent
            told.written += not issue.reason
            told.left[issue.reason] += bool(issue.reason)
            anew[issue.task.id] = issue.task
            phase.advance(now=f"{told.written} written")
    finally:
        await teacher.close()
    return anew


def _before(trees: TreeStore, task: Task) -> list[FileEdit]:
    """The files that gold changes, as a solver finds them."""
    broken = {edit.path: edit for edit in task.setup}
    folder = trees.folder(task.tree)
    return [broken.get(edit.path) or FileEdit(path=edit.path, content=_text(folder / edit.path)) for edit in task.gold]


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _messages(tasks: Sequence[Task], repos: Mapping[str, Path]) -> dict[str, str]:
    """By task id, the whole message of the commit that a task is from."""
    found: dict[str, str] = {}
    for repo in {task.repo for task in tasks if task.commit}:
        wanted = {task.commit: task.id for task in tasks if task.repo == repo and task.commit}
        try:
            history = open_history(repo, str(repos[repo]))
        except HistoryError:
            continue
        try:
            found |= {wanted[summary.sha]: summary.message for summary in history.summaries() if summary.sha in wanted}
        finally:
            history.close()
    return found
