"""A task → a task folder of Harbor's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from forge.errors import TaskError
from forge.records import Instance, Task
from forge.tasks.public.export import BASE, Base, context, patch_of, work_tree
from forge.tasks.public.harbor import SETTINGS, SOLUTION, STATEMENT, TEST, TaskFile, parse
from forge.tasks.public.scripts import applied
from forge.tasks.public.swe_bench import WORKDIR

_GRADE = Path(__file__).with_name("harbor_grade.py")
_TEST = "#!/bin/bash\npython3 /tests/grade.py\n"
_LIMITS = """
[verifier]
timeout_sec = 600.0

[agent]
timeout_sec = 1800.0

[environment]
build_timeout_sec = 900.0
cpus = 1
memory_mb = 2048
storage_mb = 4096
allow_internet = false
"""


def harbor_instance(task: Task, files: Mapping[str, bytes], *, base: Base = BASE) -> Instance:
    """The task as an instance of Harbor's kind; `harbor.files_of` gives its folder. Raises `TaskError`."""
    return parse(task.id, harbor_files(task, files, base=base))


def harbor_files(task: Task, files: Mapping[str, bytes], *, base: Base = BASE) -> dict[str, TaskFile]:
    """The files of the folder; `files` are those of the task's tree."""
    work = work_tree(task, files)
    solution = ["#!/bin/bash", "set -euo pipefail", f"cd {WORKDIR}", *applied(patch_of(work, task.gold)), ""]
    hidden = {edit.path: edit.content for edit in task.tests}
    asked = {
        "ids": [*dict.fromkeys((*task.fail_to_pass, *task.pass_to_pass))],
        "absent": sorted(path for path, content in hidden.items() if content is None),
    }
    tests = {f"tests/files/{path}": content.encode() for path, content in hidden.items() if content is not None}
    if not tests:
        raise TaskError("it has no test file to hide")
    plain = {
        SETTINGS: _settings(task).encode(),
        STATEMENT: (task.statement.rstrip() + "\n").encode(),
        **{f"environment/{path}": content for path, content in context(work, base).items()},
        "tests/grade.py": _GRADE.read_bytes(),
        "tests/ids.json": json.dumps(asked, indent=1).encode(),
        **tests,
    }
    scripts = {TEST: _TEST.encode(), SOLUTION: "\n".join(solution).encode()}
    return {path: TaskFile(content) for path, content in plain.items()} | {path: TaskFile(text, True) for path, text in scripts.items()}


def _settings(task: Task) -> str:
    """`task.toml`; a string of JSON is one of TOML too."""
    about = {"repo": task.repo, "base_commit": task.base_commit, "origin": task.origin, "category": "programming"}
    lines = [f"{key} = {json.dumps(value)}" for key, value in about.items()]
    return "\n".join(['version = "1.0"', "", "[metadata]", *lines, _LIMITS])
