"""A candidate becomes a task when running shows it: fails without gold, passes with it, the same each time.

Both states run in boxes of the provider that is passed in. What a flaky test said is dropped and counted. Twins of hidden
tests are proven there too: with gold in place, in the arrangement in which a grade runs them, each must fail.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from forge.errors import TaskError
from forge.exam.arrange import arrange
from forge.exam.twins import every_twin, twins_of
from forge.records import Drop, FileEdit, Limits, Proof, Record, Side, Task, TestRun, Twin
from forge.seams import Sandbox, SandboxProvider
from forge.tasks.candidate import Candidate
from forge.tasks.reach import Reach, command, parse
from forge.tasks.statement import statement_of
from forge.tasks.suite import functions_in, is_test_file, without
from forge.tasks.visibility import Visibility

_PATIENCE = 4.0
"""A planted bug may make tests this many times slower than gold before they count as hanging."""
_LEAST_S = 2.0
NOTHING_KEPT = "no test passes in both states"
NOTHING_FAILS = "no test fails only without gold"
ENDLESS = "tests do not finish with gold"
ILL = "no test passes with gold"
UNFIT = (ENDLESS, ILL)
"""Reasons that hold for every bug planted into a module: nothing can be proven with its tests here."""


class Runs(Record):
    """Every run of one state, and how long they took in seconds."""

    runs: tuple[TestRun, ...]
    seconds: float


class Prover:
    """Proves candidates with `runs` runs of each state, in boxes of `provider`."""

    def __init__(self, provider: SandboxProvider, trees: Callable[[str], Path], limits: Limits, *, runs: int, run_id: str) -> None:
        """`trees` gives the unpacked folder of a tree's content hash."""
        self._provider = provider
        self._trees = trees
        self._limits = limits
        self._count = runs
        self._run_id = run_id
        self._proven_twins: dict[tuple[str, tuple[str, ...]], asyncio.Task[tuple[Twin, ...]]] = {}

    async def gold(self, candidate: Candidate) -> Runs:
        """The tests' runs with gold in place. The same for all bugs planted into one tree, so it may be kept."""
        files = (*candidate.broken, *candidate.gold, *candidate.tests)
        return await self._run(candidate, _test_files(candidate), files, lambda run: run.complete)

    async def prove(self, candidate: Candidate, side: Side, gold: Runs | None = None, visibility: Visibility | None = None) -> Task | Drop:
        """The task, or why it is none. Raises `SandboxError` when a box, not the candidate, failed."""
        where = candidate.commit or f"{candidate.gold[0].path}:{candidate.operator}"
        try:
            return await self._proven(candidate, side, gold, visibility)
        except TaskError as error:
            return Drop(sha=where, reason=str(error))

    async def notice(self, candidate: Candidate, gold: Runs, visibility: Visibility, tests: Sequence[str] = ()) -> str:
        """Why a single run says that the tests do not notice these bugs as they should; empty when they do.

        Of `tests` alone (ids), where they are given: the others are taken to pass, which the proof then shows.
        """
        if reason := _unfit(gold):
            return reason
        before = await self._without_gold(candidate, lambda _: False, _limit(gold), tests)
        if tests:
            first = before.runs[0]
            passing = {name: outcome for name, outcome in gold.runs[0].outcomes.items() if name not in tests}
            before = Runs(runs=(first.model_copy(update={"outcomes": passing | first.outcomes}),), seconds=before.seconds)
        if reason := _unsound(before) or visibility.refusal(before.runs[0], gold.runs[0]):
            return reason
        return "" if _fails(gold, before.runs[0]) else NOTHING_FAILS

    async def reach(self, candidate: Candidate, source: str) -> Reach | None:
        """What the candidate's tests reach in a source file with gold in place; `None` when that cannot be found out."""
        async with self._box(candidate) as box:
            await box.write(candidate.tests)
            return parse(await box.run(command(source, _test_files(candidate))))

    async def _proven(self, candidate: Candidate, side: Side, gold: Runs | None, visibility: Visibility | None) -> Task:
        """The task. Raises `TaskError` with the reason why it is none."""
        first: Runs | None = None
        if gold is None:
            # Most commits that are no tasks change nothing that tests notice: one run says so.
            first = await self._without_gold(candidate, lambda _: False)
            _refuse(NOTHING_FAILS if _all_pass(first.runs[0]) else "")
        after = gold or await self.gold(candidate)
        _refuse(_unfit(after))

        # A run without gold in which everything passes already says that this is no task.
        def worth_repeating(run: TestRun) -> bool:
            return _fails(after, run) and not (visibility and visibility.refusal(run, after.runs[0]))

        before = await self._without_gold(candidate, worth_repeating, _limit(after), first=first)
        _refuse(_unsound(before) or (visibility.refusal(before.runs[0], after.runs[0]) if visibility else ""))
        verdict = compare(before.runs, after.runs)
        if verdict.reason == NOTHING_KEPT and candidate.suite and (kept := await self._always_passing(candidate)):
            verdict = verdict.model_copy(update={"pass_to_pass": kept, "reason": ""})
        _refuse(verdict.reason)
        task = _task(candidate, side, verdict, before, after)
        return task.model_copy(update={"twins": await self._twins(candidate, task, after)})

    async def _twins(self, candidate: Candidate, task: Task, after: Runs) -> tuple[Twin, ...]:
        """The task's twins that are proven."""
        wanted = twins_of(task.tests, task.fail_to_pass)
        if candidate.origin == "commit":
            return await self._failing(candidate, (*task.fail_to_pass, *task.pass_to_pass), wanted, _limit(after))
        # With gold in place every planted bug leaves this very state: its tests' twins are proven once for all of them.
        key = candidate.tree, tuple(edit.path for edit in candidate.tests)
        if key not in self._proven_twins or (self._proven_twins[key].done() and self._proven_twins[key].exception()):
            passing = [name for name, outcome in after.runs[0].outcomes.items() if outcome == "passed"]
            every = every_twin(task.tests, passing)
            self._proven_twins[key] = asyncio.ensure_future(self._failing(candidate, passing, every, _limit(after)))
        proven = set(await asyncio.shield(self._proven_twins[key]))
        return tuple(twin for twin in wanted if twin in proven)

    async def _failing(self, candidate: Candidate, ids: Sequence[str], twins: Sequence[Twin], limit: float) -> tuple[Twin, ...]:
        """Twins that fail with gold while all of these hidden tests pass beside them."""
        own = {edit.path for edit in candidate.tests}
        asked = [id_ for id_ in ids if id_.partition("::")[0] in own]
        if not twins:
            return ()
        exam = arrange(candidate.tests, asked, twins, random.Random(len(asked)))
        async with self._box(candidate) as box:
            await box.write((*candidate.broken, *candidate.gold, *exam.files))
            run = await box.run_tests([*(exam.stand_ins.get(id_, id_) for id_ in asked), *exam.twins], timeout_s=4 * limit)
        if not run.complete or any(run.outcomes.get(exam.stand_ins.get(id_, id_)) != "passed" for id_ in asked):
            return ()
        bad = {twin for id_, twin in exam.twins.items() if run.outcomes.get(id_) != "failed"}
        return tuple(twin for twin in twins if twin not in bad)

    async def _always_passing(self, candidate: Candidate) -> tuple[str, ...]:
        """Ids of the rest of the suite that pass in both states: what a patch must not break when its own tests say nothing."""
        passing: list[set[str]] = []
        for files in ((*candidate.broken, *candidate.gold, *candidate.tests), (*candidate.broken, *candidate.tests)):
            run = (await self._run(candidate, candidate.suite, files, lambda _: False)).runs[0]
            passing.append({name for name, outcome in run.outcomes.items() if outcome == "passed"} if run.complete else set())
        return tuple(sorted(passing[0] & passing[1]))

    async def _without_gold(
        self,
        candidate: Candidate,
        worth_repeating: Callable[[TestRun], bool],
        timeout_s: float | None = None,
        tests: Sequence[str] = (),
        first: Runs | None = None,
    ) -> Runs:
        files = (*candidate.broken, *candidate.tests)
        return await self._run(candidate, tests or _test_files(candidate), files, worth_repeating, timeout_s, first)

    async def _run(
        self,
        candidate: Candidate,
        tests: Sequence[str],
        files: Sequence[FileEdit],
        worth_repeating: Callable[[TestRun], bool],
        timeout_s: float | None = None,
        first: Runs | None = None,
    ) -> Runs:
        """A run in a fresh box, and if it is worth it more of them, each with another hash seed. `first` is the first where it is known."""
        start = time.monotonic()
        runs = [await self._once(candidate, tests, files, timeout_s, 0)] if first is None else list(first.runs)
        if worth_repeating(runs[0]):
            runs += [await self._once(candidate, tests, files, timeout_s, seed) for seed in range(1, self._count)]
        return Runs(runs=tuple(runs), seconds=time.monotonic() - start + (first.seconds if first else 0.0))

    async def _once(
        self, candidate: Candidate, tests: Sequence[str], files: Sequence[FileEdit], timeout_s: float | None, hash_seed: int
    ) -> TestRun:
        async with self._box(candidate, hash_seed) as box:
            await box.write(files)
            return await box.run_tests(tests, timeout_s=timeout_s)

    @asynccontextmanager
    async def _box(self, candidate: Candidate, hash_seed: int = 0) -> AsyncIterator[Sandbox]:
        box = await self._provider.open(
            self._trees(candidate.tree),
            limits=self._limits,
            run_id=self._run_id,
            environment=candidate.environment,
            hash_seed=hash_seed,
        )
        try:
            yield box
        finally:
            await box.close()


class Comparison(Record):
    """Exact node ids by what they did in all runs of both states; `reason` is why they make no task."""

    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...]
    flaky: int
    reason: str = ""


def compare(before: Sequence[TestRun], after: Sequence[TestRun]) -> Comparison:
    """Sort the ids: fail then pass, pass always, flaky (two outcomes in one state); the rest is of no use."""
    ids = list(dict.fromkeys(name for run in after for name in run.outcomes))
    told = {name: (_said(name, before), _said(name, after)) for name in ids}
    flaky = [name for name, (old, new) in told.items() if len(old) > 1 or len(new) > 1]
    steady = {name: (min(old), min(new)) for name, (old, new) in told.items() if name not in flaky}
    fail_to_pass = tuple(name for name, (old, new) in steady.items() if new == "passed" and old in ("failed", "error", "missing"))
    pass_to_pass = tuple(name for name, said in steady.items() if said == ("passed", "passed"))
    reason = NOTHING_FAILS if not fail_to_pass else NOTHING_KEPT if not pass_to_pass else ""
    return Comparison(fail_to_pass=fail_to_pass, pass_to_pass=pass_to_pass, flaky=len(flaky), reason=reason)


def _task(candidate: Candidate, side: Side, verdict: Comparison, before: Runs, after: Runs) -> Task:
    hidden = tuple(_hidden(edit, verdict.fail_to_pass) for edit in candidate.visible)
    shown = {edit.path: edit.content for edit in candidate.visible}
    setup = (*candidate.broken, *(edit for edit in hidden if edit.content is not None and edit.content != shown[edit.path]))
    statement = statement_of(candidate, verdict.fail_to_pass, before.runs[0].messages, before.runs[0].lines)
    fields = {
        "repo": candidate.repo,
        "base_commit": candidate.base_commit,
        "origin": candidate.origin,
        "operator": candidate.operator,
        "statement": statement,
        "statement_by": "people" if candidate.title and statement.startswith(candidate.title) else "tests",
        "tree": candidate.tree,
        "setup": setup,
        "gold": candidate.gold,
        "tests": candidate.tests,
        "fail_to_pass": verdict.fail_to_pass,
        "pass_to_pass": verdict.pass_to_pass,
        "files": tuple(sorted({edit.path for edit in (*candidate.gold, *candidate.tests)})),
        "commit": candidate.commit,
        "environment": candidate.environment.id if candidate.environment else "",
    }
    proof = Proof(
        runs=min(len(before.runs), len(after.runs)),
        gold_passed=True,
        noop_failed=True,
        flaky_ids=verdict.flaky,
        seconds=round(before.seconds + after.seconds, 3),
    )
    return Task.model_validate({**fields, "id": _id(candidate, setup, verdict), "side": side, "proof": proof})


def soft_task(candidate: Candidate) -> Task:
    """The training task of a candidate whose environment does not build: it is not proven, and no test of it is asked for."""
    title = statement_of(candidate, (), {})
    fields = {name: getattr(candidate, name) for name in ("repo", "base_commit", "origin", "tree", "gold", "tests", "commit")}
    nothing = Comparison(fail_to_pass=(), pass_to_pass=(), flaky=0)
    files = tuple(sorted({edit.path for edit in (*candidate.gold, *candidate.tests)}))
    people = bool(candidate.title) and title.startswith(candidate.title or "")
    said = {"statement": title, "statement_by": "people" if people else "tests"}
    ids = {"id": _id(candidate, (), nothing), "side": "train", "fail_to_pass": (), "pass_to_pass": (), "files": files}
    return Task.model_validate({**fields, **said, **ids})


def _test_files(candidate: Candidate) -> list[str]:
    return [edit.path for edit in candidate.tests if is_test_file(edit.path) and edit.content is not None]


def _hidden(edit: FileEdit, fail_to_pass: Sequence[str]) -> FileEdit:
    """A test file of the work tree without the tests that grading keeps to itself."""
    names = functions_in(fail_to_pass, edit.path)
    return edit if edit.content is None or not names else FileEdit(path=edit.path, content=without(edit.content, names))


def _id(candidate: Candidate, setup: Sequence[FileEdit], verdict: Comparison) -> str:
    edits = [edit.model_dump() for edit in (*setup, *candidate.gold, *candidate.tests)]
    body = json.dumps([candidate.tree, edits, verdict.fail_to_pass, verdict.pass_to_pass])
    return f"{candidate.repo.replace('/', '--')}-{candidate.origin}-{hashlib.sha256(body.encode()).hexdigest()[:12]}"


def _said(name: str, runs: Sequence[TestRun]) -> set[str]:
    return {run.outcomes.get(name, "missing") for run in runs}


def _refuse(reason: str) -> None:
    if reason:
        raise TaskError(reason)


def _limit(after: Runs) -> float:
    """Seconds that a run without gold may take."""
    return max(_LEAST_S, _PATIENCE * max(run.seconds for run in after.runs))


def _all_pass(run: TestRun) -> bool:
    return run.complete and bool(run.outcomes) and all(outcome in ("passed", "skipped") for outcome in run.outcomes.values())


def _fails(after: Runs, run: TestRun) -> bool:
    """Whether a run without gold is complete and misses something that passes with gold."""
    passing = {name for name, outcome in after.runs[0].outcomes.items() if outcome == "passed"}
    return run.complete and any(run.outcomes.get(name) != "passed" for name in passing)


def _unfit(gold: Runs) -> str:
    if not all(run.complete for run in gold.runs):
        return ENDLESS
    return "" if any("passed" in run.outcomes.values() for run in gold.runs) else ILL


def _unsound(before: Runs) -> str:
    return "" if all(run.complete for run in before.runs) else "tests do not finish without gold"
