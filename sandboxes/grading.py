"""A patch becomes a verdict: fresh box, pristine tree, source edits only, hidden tests restored, every named test passed.

Does not protect against a patch that finds the reporting plugin inside pytest's own process and speaks for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from forge.records import FileEdit, Limits, Record, Task, TestRun, Verdict
from forge.seams import FindEnvironment, SandboxProvider, own_python
from sandboxes.paths import graded_edits


class BoxGrader:
    """Grades in boxes of one provider. Implements `forge.seams.Grader`."""

    def __init__(
        self,
        provider: SandboxProvider,
        trees: Callable[[str], Path],
        limits: Limits,
        run_id: str,
        *,
        environments: FindEnvironment = own_python,
    ) -> None:
        """`trees` gives the unpacked folder of a tree's content hash, `environments` the environment of an id."""
        self._environments = environments
        self._provider = provider
        self._trees = trees
        self._limits = limits
        self._run_id = run_id

    async def grade(self, task: Task, edits: Sequence[FileEdit]) -> Verdict:
        """See `forge.seams.Grader.grade`."""
        exam = make_exam(task, edits)
        environment = self._environments(task.environment)
        box = await self._provider.open(self._trees(task.tree), limits=self._limits, run_id=self._run_id, environment=environment)
        try:
            await box.write(exam.files)
            run = await box.run_tests(exam.ids)
        finally:
            await box.close()
        return judge(exam, run)


class Exam(Record):
    """What a grading box gets: files in the order in which they are written, the ids to run, the edits left out."""

    files: tuple[FileEdit, ...]
    ids: tuple[str, ...]
    dropped: tuple[str, ...] = ()


def make_exam(task: Task, edits: Sequence[FileEdit]) -> Exam:
    """The set-up, then the part of the patch that counts, then the hidden tests over both."""
    kept, dropped = graded_edits(edits, {edit.path for edit in task.tests})
    ids = tuple(dict.fromkeys((*task.fail_to_pass, *task.pass_to_pass)))
    return Exam(files=(*task.setup, *kept, *task.tests), ids=ids, dropped=tuple(dropped))


def judge(exam: Exam, run: TestRun) -> Verdict:
    """Passed only if the run was complete and every id passed; a skipped or missing test did not pass."""
    bad = [name for name in exam.ids if run.outcomes.get(name) != "passed"]
    note = f"; ignored edits of {', '.join(exam.dropped)}" if exam.dropped else ""
    if not run.complete:
        return Verdict(passed=False, reason=f"the test run does not count: {run.reason}{note}", failed_ids=tuple(bad), seconds=run.seconds)
    if bad:
        first = f"{bad[0]} {run.outcomes.get(bad[0], 'missing')}"
        said = f": {run.messages[bad[0]]}" if bad[0] in run.messages else ""
        reason = f"{len(bad)} of {len(exam.ids)} tests did not pass, first {first}{said}{note}"
        return Verdict(passed=False, reason=reason, failed_ids=tuple(bad), seconds=run.seconds)
    return Verdict(passed=True, reason=f"all {len(exam.ids)} tests passed{note}", seconds=run.seconds)


def verdict_key(task: Task, edits: Sequence[FileEdit]) -> str:
    """Hex SHA-256 of all that a verdict depends on: tree, files as written, ids in any order. Equal keys, equal verdicts."""
    exam = make_exam(task, edits)
    written = {edit.path: edit.content for edit in exam.files}
    body = json.dumps([task.tree, sorted(written.items()), sorted(exam.ids)])
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()
