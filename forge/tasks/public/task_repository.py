"""SWE-bench 5 as a task repository: `sweb.yaml`, and a folder a task with its patches, script and texts in files of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import yaml

from forge.records import Drop
from forge.tasks.public.row import Row

_FILES = {"patch": "gold.patch", "test_patch": "test.patch", "eval_script": "eval.sh", "problem_statement": "problem_statement.md"}
"""Columns of a row that are files here. Source: `swebench.task.repo`."""


def is_task_repository(folder: Path) -> bool:
    """Whether it looks like one."""
    return (folder / "sweb.yaml").is_file() and (folder / "tasks").is_dir()


def repository_rows(folder: Path, split: str = "") -> Iterator[Row | Drop]:
    """The row of each task, of one split where that is named; a folder that lacks a part is a `Drop`."""
    for task in sorted(path.parent for path in (folder / "tasks").glob("*/task.yaml")):
        row = _row(task)
        if not split or isinstance(row, Drop) or row.get("split") == split:
            yield row


def _row(task: Path) -> Row | Drop:
    try:
        about = yaml.safe_load((task / "task.yaml").read_text(encoding="utf-8"))
        # Line ends are part of a patch.
        texts = {name: (task / file).read_bytes().decode() for name, file in _FILES.items()}
        tests = json.loads((task / "tests.json").read_text(encoding="utf-8"))
        hints = (task / "hints.md").read_text(encoding="utf-8") if (task / "hints.md").exists() else ""
        return {**about, **texts, **tests, "hints_text": hints}
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        name = Path(str(getattr(error, "filename", None) or "")).name
        return Drop(sha=task.name, reason=f"no {name}" if name else "a task folder that cannot be read")
