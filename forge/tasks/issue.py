"""An issue for a task that nobody described: a teacher writes it from the change and its failing tests, and it is checked.

What quotes the change, names hidden tests or leaves out what has to be asked for by name is asked for once more with the
reason, and then given up: the plain statement from the failing tests stays.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from forge.errors import TeacherError, TeacherRefusedError
from forge.records import FileEdit, Message, Record, Task
from forge.seams import Teacher
from forge.store.diffs import diff
from forge.tasks.statement import gold_lines
from forge.tasks.suite import functions_in, imported_names, source_of, top_level_names
from forge.teacher.prompt import ask_with, tagged
from forge.teacher.spent import FAILED, Spent, spent_on

MAX_PATCH = 12_000
"""Characters of a change that are shown; what is longer goes on unseen."""
MAX_TESTS = 4
MAX_TEST = 3_000
"""Characters of a test that are shown."""
MAX_ISSUE = 4_000
"""Characters of an issue; longer ones retell the change."""
TRIES = 2
_AT_ONCE = 256
"""Tasks whose issues are under way together at most; the teacher's own limit is lower."""


class Issue(Record):
    """The task with its issue, or as it was with the reason, and what asking took."""

    task: Task
    spent: Spent
    reason: str = ""


async def issues(
    teacher: Teacher, tasks: Collection[Task], before: Mapping[str, Sequence[FileEdit]], messages: Mapping[str, str]
) -> AsyncIterator[Issue]:
    """An issue for each task, in the order in which they come. `before` has, by task id, the files that gold changes as they
    are before it, `messages` what was said about the change, where anything was.

    Raises `TeacherRefusedError`, after which nothing more is asked.
    """
    waiting = list(tasks)
    running: set[asyncio.Task[Issue]] = set()
    try:
        while waiting or running:
            while waiting and len(running) < _AT_ONCE:
                task = waiting.pop(0)
                running.add(asyncio.ensure_future(issue_of(teacher, task, before[task.id], messages.get(task.id, ""))))
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for finished in done:
                yield finished.result()
    finally:
        for left in running:
            left.cancel()


async def issue_of(teacher: Teacher, task: Task, before: Sequence[FileEdit], message: str = "") -> Issue:
    """The task with an issue that a teacher wrote. Raises `TeacherRefusedError` only, when it answers nothing at all."""
    wanted = _wanted(task, before)
    question = _question(task, before, wanted, message)
    spent, reason = Spent(), ""
    for _ in range(TRIES):
        try:
            answer = await teacher.ask(question)
        except TeacherRefusedError:
            raise
        except TeacherError as error:
            return Issue(task=task, spent=spent + FAILED, reason=str(error))
        spent += spent_on(answer)
        text = tagged(answer.text, "issue") or ""
        reason = refusal(text, task, before, wanted)
        if not reason:
            return Issue(task=task.model_copy(update={"statement": text, "statement_by": "teacher"}), spent=spent)
        again = f"That issue cannot be used: {reason}. Write it anew between <issue> and </issue>."
        question = (*question, Message(role="assistant", content=answer.text), Message(role="user", content=again))
    return Issue(task=task, spent=spent, reason=reason)


def refusal(text: str, task: Task, before: Sequence[FileEdit], wanted: Sequence[tuple[str, str]] = ()) -> str:
    """Why an issue cannot be given to a solver, as the teacher is told; empty when it can."""
    if not text:
        return "there is nothing between the tags"
    if len(text) > MAX_ISSUE:
        return f"it has {len(text)} characters, {MAX_ISSUE} are the most"
    quoted = sorted(line for line in gold_lines(before, task.gold) if line in text)
    if quoted:
        return f"it quotes the change: {quoted[0]}"
    told = [name for name in _test_names(task) if re.search(rf"\b{re.escape(name)}\b", text)]
    if told:
        return f"it names a hidden test: {told[0]}"
    if re.search(r"^(?:diff --git |@@ |\+\+\+ )", text, re.MULTILINE):
        return "it contains a diff"
    unnamed = [name for name, _ in wanted if name not in text]
    return f"it does not ask for {', '.join(unnamed)} by name" if unnamed else ""


def _question(task: Task, before: Sequence[FileEdit], wanted: Sequence[tuple[str, str]], message: str) -> tuple[Message, ...]:
    patch = diff({edit.path: edit.content for edit in before}, {edit.path: edit.content for edit in task.gold})
    return ask_with(
        "forge.tasks",
        "prompts/issue.jinja",
        repo=task.repo,
        patch=patch[:MAX_PATCH],
        tests=[source[:MAX_TEST] for source in _tests(task)],
        seen=task.statement,
        wanted=[f"{name} in {path}" for name, path in wanted],
        message=message,
    )


def _tests(task: Task) -> list[str]:
    """Sources of the first failing tests, each once."""
    texts = {edit.path: edit.content or "" for edit in task.tests}
    paths = dict.fromkeys(id_.partition("::")[0] for id_ in task.fail_to_pass)
    names = [(path, name) for path in paths for name in functions_in(task.fail_to_pass, path)]
    return [source for path, name in names[:MAX_TESTS] if (source := source_of(texts.get(path, ""), [name]))]


def _wanted(task: Task, before: Sequence[FileEdit]) -> list[tuple[str, str]]:
    """(name, path) of what only gold defines and tests import."""
    asked = {name for edit in task.tests for name in imported_names(edit.content or "")}
    old = {name for edit in before for name in top_level_names(edit.content or "")}
    return [(name, edit.path) for edit in task.gold for name in sorted((top_level_names(edit.content or "") - old) & asked)]


def _test_names(task: Task) -> list[str]:
    """Bare names of the hidden tests."""
    return sorted({id_.partition("[")[0].rpartition("::")[2] for id_ in task.fail_to_pass})
