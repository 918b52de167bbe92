"""Instances of public sets graded for real, in an image of the work tree that `tests.public_rows` describes."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from forge.errors import SandboxError, TaskError
from forge.records import Instance, Limits, Verdict
from forge.store.diffs import diff
from forge.tasks.public.harbor import read_folder
from forge.tasks.public.sets import read_row
from sandboxes import containers
from sandboxes.errand import run as carry_out
from sandboxes.harness import LIMITS, Attempt, Harness, gold, instance_key, make_errand
from sandboxes.image_store import ImageStore
from tests.docker.images import base_image, built, removed
from tests.public_rows import FILES, FIXED, OLD_TESTS, ROWS, harbor_folder

IMAGE, HEALTHY, SPOILED = "forge-test-harness:start", "forge-test-harness:healthy", "forge-test-harness:spoiled"
RUN = "harness-test"
R2E = {"run_tests.sh": b"python3 -m pytest -rA r2e_tests\n", "r2e_tests/__init__.py": b"", "r2e_tests/test_1.py": b""}


@pytest.fixture(scope="module")
def images() -> Iterator[None]:
    base_image()
    tree = {path: text.encode() for path, text in FILES.items()}
    tests = (
        b"from pkg.maths import double, same\ndef test_double():\n    assert double(3) == 6\ndef test_same():\n    assert same(1) == 1\n"
    )
    built(IMAGE, tree | R2E | {"r2e_tests/test_1.py": tests})
    built(HEALTHY, tree | {"pkg/maths.py": FIXED.encode(), "tests/test_maths.py": b"from pkg.maths import *\n" + _bodies()})
    yield
    removed(IMAGE, HEALTHY, SPOILED)


@pytest.fixture
def run() -> Iterator[Callable[..., Any]]:
    with asyncio.Runner() as runner:
        yield runner.run


def _bodies() -> bytes:
    return b"def test_same():\n    assert same(3) == 3\ndef test_double():\n    assert double(3) == 6\n"


def instance(name: str) -> Instance:
    """An instance of a set, in the image that is there; conda's lines, which are of the sets' own images, left out."""
    found = read_row(ROWS[name]())
    lines = [line for line in found.eval_script.split("\n") if "conda" not in line]
    script = "\n".join(lines).replace("pytest -rA ", "python3 -m pytest -rA ").replace("python3 -m python3 -m", "python3 -m")
    script = script.replace(f"git checkout {found.base_commit}", "git checkout HEAD")
    image = HEALTHY if name == "swe-smith" else IMAGE
    return found.model_copy(update={"image": image, "eval_script": script})


def grade(of: Instance, *attempts: Attempt, limits: Limits = LIMITS) -> list[Verdict]:
    async def body() -> list[Verdict]:
        harness = Harness(limits, run_id=RUN)
        try:
            return [await harness.grade(of, attempt) for attempt in attempts]
        finally:
            await harness.close()

    return asyncio.run(body())


def nothing_is_left() -> bool:
    client = docker.from_env()
    try:
        return not client.api.containers(all=True, filters={"label": f"{containers.RUN_LABEL}={RUN}"})
    finally:
        client.close()


@pytest.mark.parametrize("name", ROWS)
def test_gold_passes_and_doing_nothing_fails_in_every_set(name: str, images: None) -> None:
    of = instance(name)
    solved, untouched = grade(of, gold(of), Attempt())
    assert (solved.passed, solved.weak, solved.reason) == (True, True, "all 2 tests did as they should"), solved
    assert not untouched.passed and any("test_double" in failed for failed in untouched.failed_ids), untouched
    assert nothing_is_left()


def test_a_harbor_folder_is_graded_by_its_reward(images: None, tmp_path: Path) -> None:
    of = read_folder(harbor_folder(tmp_path / "double", image=IMAGE))
    solved, untouched, patched = grade(of, gold(of), Attempt(), Attempt(patch=instance("swe-bench").gold_patch))
    assert (solved.passed, solved.reason, patched.passed) == (True, "its reward is 1", True)
    assert (untouched.passed, untouched.reason) == (False, "its reward is 0")
    silent = of.model_copy(update={"eval_script": "true"})
    assert grade(silent, gold(of))[0].reason == "it left no reward"


def test_edits_of_tests_and_of_their_configuration_do_not_count(images: None) -> None:
    of = instance("swe-bench-5")
    forged = {"tests/test_maths.py": "def test_double():\n    pass\n", "conftest.py": "def pytest_runtest_makereport(): pass\n"}
    (verdict,) = grade(of, Attempt(patch=diff({"tests/test_maths.py": OLD_TESTS}, forged)))
    assert not verdict.passed and verdict.reason.endswith("ignored edits of conftest.py, tests/test_maths.py")


def test_a_patch_that_does_not_apply_is_the_models_and_a_bug_that_does_not_is_the_boxs(images: None) -> None:
    of = instance("swe-bench-5")
    stale = diff({"pkg/maths.py": "other\n"}, {"pkg/maths.py": "words\n"})
    (verdict,) = grade(of, Attempt(patch=stale))
    assert not verdict.passed and verdict.reason.startswith("the patch does not apply: ")
    with pytest.raises(SandboxError, match="its bug does not apply to its image"):
        grade(instance("swe-smith").model_copy(update={"image": IMAGE}), Attempt())


def test_what_the_box_lacks_is_never_the_models_failure(images: None) -> None:
    of = instance("swe-bench-5")
    with pytest.raises(SandboxError, match="forge-test-harness:gone is not on this engine"):
        grade(of.model_copy(update={"image": "forge-test-harness:gone"}), Attempt())
    with pytest.raises(SandboxError, match="its image has no /elsewhere"):
        grade(of.model_copy(update={"workdir": "/elsewhere"}), Attempt())
    with pytest.raises(TaskError, match="swebench has no parse_log_ada"):
        grade(of.model_copy(update={"log_parser": "parse_log_ada"}), Attempt())


@pytest.mark.parametrize(
    ("script", "limit", "reason"),
    [
        ("sleep 100 & sleep 100", {"command_s": 3.0}, "the run breached its time limit"),
        ("yes", {"output_bytes": 100_000}, "the run breached its output limit"),
        ("python3 -c 'x = bytearray(10**9)'", {"memory_bytes": 64 * 2**20}, "the run breached its memory limit"),
        (
            "for i in $(seq 99); do head -c 20M /dev/zero > /f$i; done; sleep 20",
            {"disk_bytes": 40 * 2**20},
            "the run breached its disk limit",
        ),
    ],
)
def test_a_breached_limit_is_a_verdict_that_names_it(script: str, limit: dict[str, Any], reason: str, images: None) -> None:
    of = instance("swe-bench-5").model_copy(update={"eval_script": script})
    (verdict,) = grade(of, Attempt(), limits=LIMITS.model_copy(update=limit))
    assert (verdict.passed, verdict.reason) == (False, reason)
    assert nothing_is_left()


def test_a_grade_has_no_network_no_capability_and_neither_patch_nor_solution(images: None, tmp_path: Path) -> None:
    look = (
        "exec >/logs.txt; grep CapEff /proc/self/status; ls /sys/class/net; mount -t tmpfs none /mnt || echo refused; ls /forge /solution"
    )
    report = "python3 -c \"import json; print(json.dumps(open('/logs.txt').read()))\""
    of = read_folder(harbor_folder(tmp_path / "double", image=IMAGE))
    script = f"( {look} ) 2>&1; mkdir -p /logs/verifier; {report}"
    errand = make_errand(of.model_copy(update={"eval_script": script}), gold(of).script, instance("swe-gym").gold_patch, "mark")
    client = docker.from_env()
    done = carry_out(client, errand, LIMITS, RUN)
    client.close()
    said = json.loads(done.output.splitlines()[-1])
    assert "CapEff:\t0000000000000000" in said and "\nlo\n" in said and "eth" not in said and "refused" in said
    assert "patch.diff" not in said and "solve.sh" not in said and "eval.sh" in said


def test_an_image_of_one_orphan_commit_is_proven_and_any_history_is_found(images: None, run: Any) -> None:
    async def look(name: str, folder: str = "/testbed") -> tuple[bool, str]:
        harness = Harness(run_id=RUN)
        try:
            found = await harness.history(name, folder)
            return found.clean, found.reason
        finally:
            await harness.close()

    assert run(look(IMAGE)) == (True, "one orphan commit")
    assert run(look(IMAGE, "/usr")) == (True, "no repository")
    assert run(look(IMAGE, "/nowhere")) == (False, "the work tree cannot be looked at")
    git = "git -c user.name=a -c user.email=a@b"
    spoil = {
        "2 commits": f"{git} commit -q --allow-empty -m more",
        "1 refs more, such as refs/tags/v2": "git tag v2",
        "a reflog of": "git config core.logallrefupdates true && git checkout -q -b other && git checkout -q main && git branch -D other",
        "1 objects that its commit does not need": "echo future | git hash-object -w --stdin",
        "ORIG_HEAD is there": "git rev-parse HEAD > .git/ORIG_HEAD",
        "a repository inside at ./inner/.git": "git init -q inner",
    }
    for reason, command in spoil.items():
        removed(SPOILED)
        recipe = f"FROM {IMAGE}\nRUN cd /testbed && {command}\n"
        subprocess.run(
            ["docker", "build", "--network=none", "-q", "-t", SPOILED, "-"],
            input=recipe.encode(),
            check=True,
            capture_output=True,
            timeout=120,
        )
        clean, said = run(look(SPOILED))
        assert not clean and reason in said, (reason, said)


def test_a_verdict_is_keyed_on_content_and_not_on_the_run(images: None) -> None:
    of, store = instance("swe-bench-5"), ImageStore()
    image = store.identity(of.image)
    assert image is not None and store.missing([of.image, "forge-test-harness:gone"]) == ["forge-test-harness:gone"]
    with pytest.raises(SandboxError, match="cannot pull forge-test-harness:gone"):
        store.pull("forge-test-harness:gone", lambda done, total: None)
    store.close()
    key = instance_key(of, gold(of), image)
    assert key == instance_key(of.model_copy(), gold(of), image)
    assert len({key, instance_key(of, Attempt(), image), instance_key(of, gold(of), "other")}) == 3
