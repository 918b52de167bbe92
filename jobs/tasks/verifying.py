"""`forge tasks verify`: gold and doing nothing on every task of a source, a look for history in every image, resumable."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from forge.errors import EnvironmentLackError, SandboxError
from forge.observe.progress import PhaseProgress, Progress
from forge.observe.screen import Screen
from forge.records import Instance, Limits, Task
from forge.tasks.journal import Journal
from forge.tasks.public.harbor import files_of, image_of
from forge.tasks.public.sets import HARBOR
from forge.tasks.public.verified import Grade, Verified, counted, verify
from jobs.tasks import tables
from jobs.tasks.exporting import environment
from jobs.tasks.importing import images_missing
from jobs.tasks.sources import Source, read_source
from sandboxes.grading import BoxGrader, verdict_key
from sandboxes.harness import LIMITS, Attempt, Harness, gold, instance_key
from sandboxes.history import History
from sandboxes.image_store import ImageStore
from sandboxes.pick import Choice, pick

OWN_LIMITS = Limits(memory_bytes=2 * 2**30, pids=128, disk_bytes=256 * 2**20, command_s=120.0)
"""Of a grade of forge's own tasks: suites of strange repositories want more than practice ones."""
RUN = "verify"
OWN = "forge"
"""What forge's own tasks are called in the table."""
_FORMAT = "verified:1"


@dataclass(frozen=True)
class Job:
    """One task to verify: the key of all that its proof depends on, and how it is graded."""

    key: str
    id: str
    set: str
    grade: Grade


def verify_source(
    path: Path, named: str | None, split: str, *, runs: int, workers: int, timeout_s: float, memory_gb: float, pull: bool, build: bool
) -> int:
    """Exit code: 0 when everything is verified and no image holds history, else 1."""
    console = Console(highlight=False)
    source = read_source(path, named, split)
    limits = LIMITS.model_copy(update={"command_s": timeout_s, "memory_bytes": int(memory_gb * 2**30)})
    with Screen(console) as screen:
        progress = Progress(screen.line, every_s=1.0 if console.is_terminal else 10.0)
        missing = _images(progress, source.instances, pull=pull, build=build)
        verifier = Verifier(source, limits, runs, workers, set(missing))
        found, histories, lost = asyncio.run(verifier.run(progress))
    refused = source.refused | ({"its image is not here (--pull fetches it)": verifier.passed_over} if verifier.passed_over else {})
    if found:
        console.print(tables.verified(counted(found)))
        console.print(tables.histories(histories))
    for title, reasons in (("rows left out", refused), ("lost to boxes; the same command tries again", dict(lost))):
        if reasons:
            console.print(tables.reasons(title, reasons))
    good = found and not any(entry.reason for entry in found) and all(history.clean for history in histories)
    return 0 if good and not refused and not lost else 1


class Verifier:
    """Verifies one source. What is done is kept in a journal, by content: another image or patch is done anew."""

    def __init__(self, source: Source, limits: Limits, runs: int, workers: int, missing: set[str]) -> None:
        self._source, self._limits, self._runs, self._workers = source, limits, runs, workers
        self._instances = [instance for instance in source.instances if instance.image not in missing]
        self.passed_over = len(source.instances) - len(self._instances)
        self._lost: Counter[str] = Counter()

    async def run(self, progress: Progress) -> tuple[list[Verified], list[History], Counter[str]]:
        """(a proof of each task, what each image holds, what boxes failed by their sentence)."""
        journal = Journal(self._source.journal, _FORMAT, Verified)
        provider = fit_for(self._source, pick()).make() if self._source.tasks else None
        harness = Harness(self._limits, run_id=RUN, workers=self._workers) if self._instances else None
        try:
            jobs = []
            if provider is not None and self._source.trees is not None:
                jobs += self._own_jobs(
                    BoxGrader(provider, self._source.trees.folder, OWN_LIMITS, RUN, environments=self._source.environments)
                )
            if harness is not None:
                jobs += self._public_jobs(harness)
            with progress.phase("verify", f"{self._runs} × gold and nothing on {len(jobs)} tasks") as phase:
                found = await self._verify(jobs, journal, phase)
                phase.result(f"{sum(not entry.reason for entry in found)} of {len(jobs)} verified")
            with progress.phase("history", "what the images hold beside the work tree") as phase:
                histories = [*self._trees(), *(await self._looks(harness, phase) if harness else ())]
                phase.result(f"{sum(history.clean for history in histories)} of {len(histories)} hold none")
        finally:
            journal.close()
            if provider is not None:
                await provider.close()
            if harness is not None:
                await harness.close()
        return found, histories, self._lost

    def _own_jobs(self, grader: BoxGrader) -> list[Job]:
        def grade(task: Task) -> Grade:
            return lambda with_gold: grader.grade(task, task.gold if with_gold else ())

        return [
            Job(self._key(verdict_key(task, task.gold), verdict_key(task, ())), task.id, OWN, grade(task)) for task in self._source.tasks
        ]

    def _public_jobs(self, harness: Harness) -> list[Job]:
        def grade(instance: Instance) -> Grade:
            return lambda with_gold: harness.grade(instance, gold(instance) if with_gold else Attempt())

        store = ImageStore()
        try:
            known = {image: store.identity(image) or "" for image in {instance.image for instance in self._instances}}
        finally:
            store.close()
        return [
            Job(self._key(instance_key(instance, gold(instance), known[instance.image])), instance.id, instance.set, grade(instance))
            for instance in self._instances
        ]

    def _key(self, *parts: str) -> str:
        return hashlib.sha256(json.dumps([self._runs, self._limits.model_dump(), *parts]).encode()).hexdigest()

    async def _verify(self, jobs: Sequence[Job], journal: Journal[Verified], phase: PhaseProgress) -> list[Verified]:
        """The proofs in the order of the jobs; a job whose box fails twice is counted as lost."""
        free = asyncio.Semaphore(self._workers)
        known = {job.key for job in jobs if job.key in journal.tried}
        phase.total(len(jobs), done=len(known), unit="tasks")

        async def one(job: Job) -> None:
            async with free:
                try:
                    journal.add(await _twice(lambda: verify(job.key, job.id, job.set, self._runs, job.grade)))
                except SandboxError as error:
                    self._lost[str(error)] += 1
                phase.advance(now=job.id)

        await asyncio.gather(*(one(job) for job in jobs if job.key not in known))
        return [journal.tried[job.key] for job in jobs if job.key in journal.tried]

    async def _looks(self, harness: Harness, phase: PhaseProgress) -> list[History]:
        places = dict.fromkeys((instance.image, instance.workdir) for instance in self._instances)
        phase.total(len(places), unit="images")
        free = asyncio.Semaphore(self._workers)

        async def one(image: str, workdir: str) -> History | None:
            async with free:
                try:
                    return await harness.history(image, workdir)
                except SandboxError as error:
                    self._lost[str(error)] += 1
                    return None
                finally:
                    phase.advance(now=image)

        return [found for found in await asyncio.gather(*(one(*place) for place in places)) if found is not None]

    def _trees(self) -> list[History]:
        """The work trees of forge's own tasks: plain files, so nothing but a stray `.git` could hold history."""
        trees = self._source.trees
        names = dict.fromkeys(task.tree for task in self._source.tasks)
        return [_tree_history(tree, trees.files(tree)) for tree in names] if trees is not None else []


def fit_for(source: Source, choice: Choice) -> Choice:
    """The sandbox, when it is strong enough for what the source's tasks run; else raises `EnvironmentLackError`."""
    strange = next((task.repo for task in source.tasks if task.repo not in source.generated), None)
    if choice.trusted_only and strange is not None:
        raise EnvironmentLackError(f"{strange} is code that forge did not generate, and {choice.why}; start Docker, or install bubblewrap")
    return choice


def _tree_history(tree: str, files: dict[str, bytes]) -> History:
    stray = next((path for path in files if ".git" in path.split("/")), None)
    return History(image=f"tree {tree[:12]}", clean=stray is None, reason=f"it holds {stray}" if stray else "no repository")


async def _twice(attempt: Callable[[], Awaitable[Verified]]) -> Verified:
    try:
        return await attempt()
    except SandboxError:
        return await attempt()


def _images(progress: Progress, instances: Sequence[Instance], *, pull: bool, build: bool) -> list[str]:
    """The images that are still not here, after those of Harbor's folders were built and others pulled, where asked for."""
    if not instances:
        return []
    if build:
        _build(progress, [instance for instance in instances if instance.set == HARBOR])
    return images_missing(progress, instances, pull=pull)


def _build(progress: Progress, folders: Sequence[Instance]) -> None:
    store = ImageStore()
    try:
        own = {instance.image: instance for instance in folders if instance.image == image_of(files_of(instance))}
        missing = store.missing(own)
        with progress.phase("build", f"{len(missing)} images of task folders") as phase:
            phase.total(len(missing), unit="images")
            for name in missing:
                store.build(name, environment(own[name]))
                phase.advance(now=name)
            phase.result(f"{len(missing)} of {len(own)} built, the others are here")
    finally:
        store.close()
