"""Instances of public sets, graded: a fresh container of the instance's image, its own script, its own reading of the log.

The weaker kind. The code under test runs as the same user as the tests and writes the log that is read, so a patch that sets out
to forge a pass can; verdicts say so (`Verdict.weak`). What is kept from a patch is what needs no image to know: the hidden
tests' files, tests and test configuration, unless the set's own fix touches them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import secrets
import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import docker
import docker.errors

from forge.errors import SandboxError
from forge.records import Instance, Limits, Record, Verdict
from forge.store.diffs import FileDiff, joined, split
from sandboxes import containers, history
from sandboxes.errand import FOLDER, Done, Errand, Put, run
from sandboxes.history import History
from sandboxes.log_grading import grade_log, graded_script
from sandboxes.paths import is_reserved, plain_path
from sandboxes.status_map import differing

T = TypeVar("T")
LIMITS = Limits(memory_bytes=4 * 2**30, pids=512, disk_bytes=8 * 2**30, output_bytes=32 * 2**20, command_s=1800.0)
"""Of one grade: public repositories need more than a box of forge's own tasks."""
_REWARDS = ("/logs/verifier/reward.txt", "/logs/verifier/reward.json")
_ENGINE_S = 120
_LAST = 200
_START = """exec 2>&1
mark=MARK
stop() { echo "$mark $1"; exit 1; }
apply() {
    git apply --whitespace=nowarn "$1" && return
    command -v patch >/dev/null && patch --unified --batch --forward --fuzz=5 -p1 -i "$1"
}
cd WORKDIR || stop "its image has no WORKDIR"
[ -w . ] || stop "WORKDIR of its image is not root's to write"
command -v git >/dev/null || command -v patch >/dev/null || stop "its image has neither git nor patch"
git update-index -q --refresh >/dev/null 2>&1
if [ -s FOLDER/bug.diff ]; then apply FOLDER/bug.diff || stop "its bug does not apply to its image"; fi
if [ -s FOLDER/patch.diff ]; then apply FOLDER/patch.diff || stop patch; fi
if [ -s /solution/solve.sh ]; then bash /solution/solve.sh || stop "its own solution failed"; fi
rm -rf FOLDER/*.diff /solution
echo "$mark ready"
exec bash FOLDER/eval.sh
"""
"""What comes before anybody else's code: each end of it is told apart by a mark that only this run knows."""


class Attempt(Record):
    """What is graded: a patch, or (as a set's own solution) bash."""

    patch: str = ""
    script: str = ""


class Harness:
    """Grades instances, at most `workers` at once. Every container is labelled and swept as boxes are."""

    def __init__(self, limits: Limits = LIMITS, *, run_id: str, workers: int = 2) -> None:
        """Raises `SandboxError` when no engine answers."""
        self._limits, self._run_id = limits, run_id
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="harness")
        try:
            self._client = docker.from_env(timeout=_ENGINE_S)
            containers.sweep(self._client)
        except (docker.errors.DockerException, OSError) as error:
            raise SandboxError(f"no container engine answers: {error}; start Docker's or Podman's, or set DOCKER_HOST") from error

    async def grade(self, instance: Instance, attempt: Attempt) -> Verdict:
        """The verdict, marked as weak. Raises `SandboxError` when the box or the image failed, `TaskError` for a log nobody can read."""
        dropped: list[str] = []
        kept = attempt.patch
        if kept.strip():
            files, dropped = counted(instance, kept)
            kept = joined(files)
        mark = secrets.token_hex(16)
        done = await self._call(lambda: run(self._client, make_errand(instance, attempt.script, kept, mark), self._limits, self._run_id))
        return judge(instance, done, mark, kept, dropped)

    async def history(self, image: str, workdir: str) -> History:
        """Whether the image's work tree is one orphan commit; raises `SandboxError`."""
        done = await self._call(lambda: run(self._client, history.look(image, workdir), self._limits, self._run_id))
        return history.judge(image, done.output).model_copy(update={"seconds": round(done.seconds, 3)})

    async def close(self) -> None:
        """End what still runs, and let go of the engine."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(containers.remove_own, self._client, self._run_id)
        await asyncio.to_thread(self._threads.shutdown)
        self._client.close()

    async def _call(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)


def gold(instance: Instance) -> Attempt:
    """The set's own solution."""
    return Attempt(patch=instance.gold_patch, script=instance.gold_script)


def instance_key(instance: Instance, attempt: Attempt, image: str) -> str:
    """Hex SHA-256 of all that a verdict depends on: instance, attempt, the image's content id. Equal keys, equal verdicts."""
    body = json.dumps([instance.content_hash(), attempt.content_hash(), image])
    return hashlib.sha256(body.encode()).hexdigest()


def counted(instance: Instance, patch: str) -> tuple[list[FileDiff], list[str]]:
    """(the files of a patch that count, the paths that do not)."""
    hidden = {path for file in split(instance.test_patch) for path in file.paths}
    known = {path for file in split(instance.gold_patch) for path in file.paths} - hidden
    kept: list[FileDiff] = []
    dropped: list[str] = []
    for file in split(patch):
        bad = [path for path in file.paths if path in hidden or not plain_path(path) or (is_reserved(path) and path not in known)]
        dropped += bad
        if not bad:
            kept.append(file)
    return kept, dropped


def make_errand(instance: Instance, script: str, patch: str, mark: str) -> Errand:
    """The errand of one grade; `mark` is printed before each word that is not anybody else's. Raises `TaskError`."""
    start = _START.replace("MARK", mark).replace("FOLDER", FOLDER).replace("WORKDIR", shlex.quote(instance.workdir))
    by_log = instance.eval_type in ("pass_and_fail", "fail_only")
    texts = {"eval.sh": graded_script(instance) if by_log else instance.eval_script, "bug.diff": instance.bug_patch, "patch.diff": patch}
    files = {f"{FOLDER}/{name}": Put(text.encode("utf-8", "surrogateescape")) for name, text in texts.items()}
    for entry in instance.attachments:
        if entry.path.startswith("tests/") or (script and entry.path.startswith("solution/")):
            files[f"/{entry.path}"] = Put(base64.b64decode(entry.data), entry.executable)
    if script:
        files["/solution/solve.sh"] = Put(script.encode("utf-8", "surrogateescape"), executable=True)
    return Errand(instance.image, start, files, _REWARDS if instance.eval_type == "reward" else ())


def judge(instance: Instance, done: Done, mark: str, patch: str, dropped: list[str]) -> Verdict:
    """The verdict on what an errand of `Harness.grade` did; raises as that does."""
    before, _, after = done.output.partition(f"{mark} ")
    word, _, log = after.partition("\n")
    note = f"; ignored edits of {', '.join(dropped)}" if dropped else ""

    def verdict(reason: str, *, passed: bool = False, failed: tuple[str, ...] = ()) -> Verdict:
        return Verdict(passed=passed, reason=reason + note, failed_ids=failed, seconds=round(done.seconds, 3), weak=True)

    if word == "patch":
        return verdict(f"the patch does not apply: {_last_line(before)}")
    if word != "ready":
        raise SandboxError(f"{instance.id}: {word or 'its container ended before it began'} ({instance.image}): {_last_line(before)}")
    if done.breach:
        return verdict(f"the run breached its {done.breach} limit")
    if instance.eval_type == "reward":
        reward = _reward(done)
        return verdict("it left no reward" if reward is None else f"its reward is {reward:g}", passed=reward is not None and reward >= 1)
    if instance.eval_type == "status_map":
        wrong = tuple(differing(instance.expected, log))
        return verdict(_counts(wrong, len(instance.expected)), passed=not wrong, failed=wrong)
    grade = grade_log(instance, log, patch)
    if grade.doubt:
        return verdict(f"{grade.doubt}; its last line: {_last_line(log)}")
    return verdict(_counts(grade.failed, len(instance.fail_to_pass) + len(instance.pass_to_pass)), passed=grade.solved, failed=grade.failed)


def _reward(done: Done) -> float | None:
    """The reward that the run left: of several in one file the lowest."""
    for path in _REWARDS:
        with contextlib.suppress(ValueError, TypeError):
            if path in done.kept:
                found = json.loads(done.kept[path])
                return min(map(float, found.values())) if isinstance(found, dict) else float(found)
    return None


def _counts(failed: tuple[str, ...], total: int) -> str:
    if not failed:
        return f"all {total} tests did as they should"
    return f"{len(failed)} of {total} tests did not do as they should, first {failed[0]}"


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:_LAST] if lines else "nothing was printed"
