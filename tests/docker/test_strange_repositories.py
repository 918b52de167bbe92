"""Repositories as they are out there, on Ray and in real boxes: each gives its task or a counted reason. Needs the package index."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray

from forge.config import TasksConfig
from forge.mining.history import open_history
from forge.records import Limits, Task
from forge.seams import FindEnvironment
from forge.store.trees import TreeStore
from forge.tasks.on_ray import Means, TaskSet, build_tasks
from jobs.wiring import EnvironmentFactory, ProviderFactory, known_environments
from sandboxes.grading import BoxGrader
from sandboxes.pick import pick
from tests.small_repos import SmallRepo

BEFORE = "def add(a, b):\n    return a - b\n"
AFTER = "def add(a, b):\n    return a + b\n"
SAME = "from calc import add\n\n\ndef test_same():\n    assert add(0, 0) == 0\n"
ADD = "\n\ndef test_add():\n    assert add(1, 2) == 3\n"
NETWORK = (
    "\n\ndef test_network():\n    import socket\n    socket.create_connection(('192.0.2.1', 53), timeout=5)\n    assert add(1, 2) == 3\n"
)
CONFIG = TasksConfig(heldout_fraction=0.0, train=99, heldout=99, transfer=0, inject=False, new_names=True)


def repo(
    folder: Path, *, test: str = SAME + ADD, before: str = BEFORE, after: str = AFTER, more: dict[str, str | bytes] | None = None
) -> None:
    made = SmallRepo(folder)
    made.commit({"calc.py": before, "tests/test_calc.py": SAME, **(more or {})})
    made.commit({"calc.py": after, "tests/test_calc.py": test}, "add gives the sum of its arguments")


def with_odd_paths(folder: Path) -> None:
    repo(folder)
    for name in (b"caf\xe9.txt", b"m\xff.py"):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(b"x = 1\n")
    SmallRepo(folder).commit(
        {
            "calc.py": AFTER + "\n\ndef one():\n    return 1\n",
            "tests/test_calc.py": SAME + ADD + "\n\ndef test_one():\n    from calc import one\n    assert one() == 1\n",
        }
    )


def with_submodule(folder: Path) -> None:
    repo(folder.with_name(f"{folder.name}-inner"))
    made = SmallRepo(folder)
    made.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(folder.with_name(f"{folder.name}-inner")), "vendor")
    repo(folder)


KINDS: dict[str, Callable[[Path], None]] = {
    "plain": repo,
    "no-tests": lambda folder: repo(folder, test=SAME),
    "hangs": lambda folder: repo(folder, test="import time\ntime.sleep(1000)\n" + SAME + ADD),
    "crashes": lambda folder: repo(folder, test="import os\nos.kill(os.getpid(), 9)\n" + SAME + ADD),
    "network": lambda folder: repo(folder, test=SAME + NETWORK),
    "python-2": lambda folder: repo(folder, before="print 'x'\n" + BEFORE, after="print 'x'\n" + AFTER),
    "broken-metadata": lambda folder: repo(folder, more={"pyproject.toml": "[project\n", "setup.py": "raise SystemExit('run')\n"}),
    "large-file": lambda folder: repo(folder, more={"large.bin": b"\0" * (40 * 2**20)}),
    "odd-paths": with_odd_paths,
    "submodule": with_submodule,
}


@pytest.fixture(scope="module")
def derived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TaskSet, Path]]:
    root = tmp_path_factory.mktemp("strange")
    for name, make in KINDS.items():
        make(root / name)
    place = tempfile.mkdtemp(prefix="fr-")
    ray.init(num_cpus=2, include_dashboard=False, _temp_dir=place, object_store_memory=80 * 2**20, logging_level="warning")
    try:
        yield derive(root), root
    finally:
        ray.shutdown()
        shutil.rmtree(place, ignore_errors=True)


def derive(root: Path) -> TaskSet:
    return build_tasks(
        {name: root / name for name in KINDS},
        root / "out" / "tasks",
        CONFIG,
        Means(
            open_history=open_history,
            make_provider=ProviderFactory(kind=pick("auto").name),
            make_environments=EnvironmentFactory(),
            trees=root / "out" / "trees",
            run_id="strange",
            limits=Limits(command_s=10.0),
        ),
    )


def test_each_repository_gives_its_task_or_a_counted_reason(derived: tuple[TaskSet, Path]) -> None:
    found, _ = derived
    assert sorted({task.repo for task in found.tasks}) == ["large-file", "odd-paths", "plain", "submodule"]
    refused = found.counts.refused
    assert refused["commit: no tests changed"] == 1
    assert refused["commit: no test fails only without gold"] == 1
    assert refused["commit: tests do not finish with gold"] == 2
    assert refused["commit: no test runs in any environment"] == 1
    assert sum(number for reason, number in refused.items() if reason.startswith("commit: no environment")) == 1
    assert found.counts.lost == {}


def test_a_second_run_takes_all_of_it_from_the_journal(derived: tuple[TaskSet, Path]) -> None:
    found, root = derived
    assert derive(root) == found


def test_the_tasks_are_graded_in_their_environments(derived: tuple[TaskSet, Path]) -> None:
    found, root = derived
    environments: FindEnvironment = known_environments(root / "out" / "tasks")

    async def verdicts(task: Task) -> tuple[bool, bool]:
        provider = pick("auto").make()
        grader = BoxGrader(provider, TreeStore(root / "out" / "trees").folder, Limits(), "strange", environments=environments)
        try:
            return (await grader.grade(task, task.gold)).passed, (await grader.grade(task, ())).passed
        finally:
            await provider.close()

    for task in found.tasks:
        assert task.environment
        assert asyncio.run(verdicts(task)) == (True, False)


def test_bad_words_end_the_command_before_anything_starts(tmp_path: Path) -> None:
    for words, said in (
        (["nowhere"], "no folder"),
        ([str(tmp_path)], "no git repository"),
        ([".", "tasks.nwest=3"], "did you mean 'tasks.newest'"),
    ):
        command = ["-m", "jobs.cli", "tasks", "derive", *words, "--out", str(tmp_path / "out")]
        done = subprocess.run([sys.executable, *command], cwd=Path(__file__).parents[2], capture_output=True, text=True)
        assert done.returncode == 2 and said in done.stderr, json.dumps([done.stdout, done.stderr])
