"""A patch becomes a verdict: fresh box, pristine tree, source edits only, hidden tests restored, every named test passed.

The code under test runs in pytest's own process and can speak for it. So twins of hidden tests stand among them
(`forge.exam`), each of which must fail, and chance decides anew which version is the test: a report that was made up
passes a twin or fails a test. Who reads the hidden tests or knows of twins has to guess which version is which; a patch
that brings in the means for that (`suspicion`) is therefore graded several times. Does not protect where a test's answer
can be told from its code alone and no version of it is wrong, nor against means that are put together at run time.
`docs/decisions/0011-twin-canaries.md` says what each attack gets.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from forge.exam.arrange import arrange
from forge.exam.overlap import overlap
from forge.records import FileEdit, Limits, Record, Task, TestRun, Twin, Verdict
from forge.seams import FindEnvironment, SandboxProvider, own_python
from sandboxes.paths import Look, graded_edits, is_reserved, look_into
from sandboxes.suspicion import flags_of

SITTINGS = 8
"""Grades of a patch that brings in means to forge: who has to guess which version is the test is right once in 2^8 (0.4 %)."""


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
        chance: random.Random | None = None,
    ) -> None:
        """`trees` gives the unpacked folder of a tree's content hash, `environments` the environment of an id.

        `chance` arranges the twins; without it nobody can foresee how.
        """
        self._environments = environments
        self._provider = provider
        self._trees = trees
        self._limits = limits
        self._run_id = run_id
        self._chance = chance or random.SystemRandom()

    async def grade(self, task: Task, edits: Sequence[FileEdit]) -> Verdict:
        """See `forge.seams.Grader.grade`. A patch with flags has to pass `SITTINGS` times, each with twins arranged anew.

        A soft task needs no box: its verdict is the overlap with gold, and `weak`.
        """
        tree = self._trees(task.tree)
        kept, _ = graded_edits(edits, {edit.path for edit in task.tests}, look_into(tree))
        if task.soft:
            return _softly(task, kept, tree)
        flags = flags_of(kept, lambda path: _before(task, tree, path))
        verdict = await self._sit(task, edits, tree)
        for _ in range(SITTINGS - 1 if flags and task.twins else 0):
            if not verdict.passed:
                break
            verdict = await self._sit(task, edits, tree)
        return verdict.model_copy(update={"flags": flags})

    async def _sit(self, task: Task, edits: Sequence[FileEdit], tree: Path) -> Verdict:
        """One verdict. A run that was killed is held once more: whoever kills processes on this machine says nothing about the patch."""
        exam, run = await self._hold(task, edits, tree)
        if run.killed:
            exam, run = await self._hold(task, edits, tree)
        return judge(exam, run)

    async def _hold(self, task: Task, edits: Sequence[FileEdit], tree: Path) -> tuple[Exam, TestRun]:
        exam = make_exam(task, edits, look_into(tree), self._chance)
        environment = self._environments(task.environment)
        box = await self._provider.open(tree, limits=self._limits, run_id=self._run_id, environment=environment)
        try:
            await box.write(exam.files)
            run = await box.run_tests(exam.ids)
        finally:
            await box.close()
        return exam, run


class Exam(Record):
    """What a grading box gets: files in the order in which they are written, the ids to run; and the edits left out."""

    files: tuple[FileEdit, ...]
    tests: dict[str, str]
    """Hidden test → the id under which it is run. Each must pass."""
    twins: dict[str, Twin] = {}
    """Id that must fail → its twin."""
    dropped: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """Everything to run."""
        return (*self.tests.values(), *self.twins)


def make_exam(task: Task, edits: Sequence[FileEdit], look: Look, chance: random.Random) -> Exam:
    """The set-up, then the part of the patch that counts, then the hidden tests over both, with twins among them."""
    kept, dropped = graded_edits(edits, {edit.path for edit in task.tests}, look)
    ids = _asked(task)
    arranged = arrange(task.tests, ids, task.twins, chance)
    return Exam(
        files=(*task.setup, *kept, *arranged.files),
        tests={id_: arranged.stand_ins.get(id_, id_) for id_ in ids},
        twins=arranged.twins,
        dropped=tuple(dropped),
    )


def judge(exam: Exam, run: TestRun) -> Verdict:
    """Passed only if the run was complete, every test passed and every twin failed; what was skipped or is missing did neither."""
    bad = [name for name, id_ in exam.tests.items() if run.outcomes.get(id_) != "passed"]
    lies = [f"the {twin.kind} twin of {twin.path}::{twin.name}" for id_, twin in exam.twins.items() if run.outcomes.get(id_) != "failed"]
    note = f"; ignored edits of {', '.join(exam.dropped)}" if exam.dropped else ""
    if not run.complete:
        reason = f"the test run does not count: {run.reason}"
    elif bad:
        id_ = exam.tests[bad[0]]
        said = f": {run.messages[id_]}" if id_ in run.messages else ""
        reason = f"{len(bad)} of {len(exam.tests)} tests did not pass, first {bad[0]} {run.outcomes.get(id_, 'missing')}{said}"
    elif lies:
        reason = f"the reports are not true: all {len(exam.tests)} tests passed, but {', '.join(dict.fromkeys(lies))} did not fail"
    else:
        return Verdict(passed=True, reason=f"all {len(exam.tests)} tests passed{note}", seconds=run.seconds)
    return Verdict(passed=False, reason=reason + note, failed_ids=tuple(bad), seconds=run.seconds)


def verdict_key(task: Task, edits: Sequence[FileEdit]) -> str:
    """Hex SHA-256 of all that an honest patch's verdict depends on: tree, files, ids in any order. Equal keys, equal verdicts.

    Twins and their arrangement are not in it: they decide only about reports that are made up.
    """
    tests = {edit.path for edit in task.tests}
    kept = [edit for edit in edits if edit.path not in tests and not is_reserved(edit.path)]
    written = {edit.path: edit.content for edit in (*task.setup, *kept, *task.tests)}
    body = json.dumps([task.tree, sorted(written.items()), sorted(_asked(task))])
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()


def _softly(task: Task, kept: Sequence[FileEdit], tree: Path) -> Verdict:
    """The verdict on a task whose tests cannot be run."""
    paths = dict.fromkeys(edit.path for edit in (*task.gold, *kept))
    before = {path: _before(task, tree, path) for path in paths}
    found = overlap(before, {e.path: e.content for e in task.gold}, {e.path: e.content for e in kept})
    reason = (
        f"{found.lines:.0%} of the {found.changed} lines and {found.symbols:.0%} of the functions that the commit changes; no test was run"
    )
    return Verdict(passed=found.passed, reason=reason, weak=True)


def _asked(task: Task) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*task.fail_to_pass, *task.pass_to_pass)))


def _before(task: Task, tree: Path, path: str) -> str | None:
    """The text of a file that a patch finds in the work tree."""
    for edit in reversed(task.setup):
        if edit.path == path:
            return edit.content
    place = tree / path
    return place.read_text(encoding="utf-8", errors="replace") if place.is_file() else None
