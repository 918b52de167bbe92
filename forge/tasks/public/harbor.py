"""Harbor's task folders: `task.toml`, `instruction.md`, `environment/`, `tests/test.sh`, `solution/solve.sh`.

The reward is a number in `/logs/verifier/reward.txt` or `reward.json`; 1 is a pass. All files travel with the instance.
"""

from __future__ import annotations

import base64
import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from forge.errors import TaskError
from forge.records import Attachment, Instance
from forge.tasks.public.row import image

SETTINGS, STATEMENT, TEST, SOLUTION = "task.toml", "instruction.md", "tests/test.sh", "solution/solve.sh"
MOST_BYTES = 32 * 2**20
"""A folder with more than this is refused: its data belongs into its image."""
_WORKDIR = "/app"
"""Where Harbor's own tools work when a Dockerfile names no folder."""


class TaskFile(NamedTuple):
    """One file of a task folder."""

    content: bytes
    executable: bool = False


def is_task_folder(folder: Path) -> bool:
    """Whether it looks like one task."""
    return (folder / SETTINGS).is_file()


def read_folder(folder: Path) -> Instance:
    """The instance of a task folder, named after it; raises `TaskError`."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if sum(path.stat().st_size for path in paths) > MOST_BYTES:
        raise TaskError("the folder is too large")
    files = {path.relative_to(folder).as_posix(): TaskFile(path.read_bytes(), bool(path.stat().st_mode & 0o100)) for path in paths}
    return parse(folder.name, files)


def parse(name: str, files: Mapping[str, TaskFile]) -> Instance:
    """The instance of a task folder's files; raises `TaskError`."""
    try:
        settings = tomllib.loads(_text(files, SETTINGS))
    except tomllib.TOMLDecodeError:
        raise TaskError("task.toml is not TOML") from None
    metadata = _table(settings, "metadata")
    return Instance(
        id=name,
        set="harbor",
        repo=str(metadata.get("repo") or name),
        base_commit=str(metadata.get("base_commit") or ""),
        version=str(settings.get("schema_version") or settings.get("version") or ""),
        image=image(str(_table(settings, "environment").get("docker_image") or image_of(files))),
        workdir=_workdir(files),
        statement=_text(files, STATEMENT),
        gold_script=_text(files, SOLUTION) if SOLUTION in files else "",
        eval_script=_text(files, TEST),
        eval_type="reward",
        attachments=tuple(attachments(files)),
    )


def files_of(instance: Instance) -> dict[str, TaskFile]:
    """The files of the folder that `parse` took."""
    return {entry.path: TaskFile(base64.b64decode(entry.data), entry.executable) for entry in instance.attachments}


def attachments(files: Mapping[str, TaskFile]) -> Sequence[Attachment]:
    """The files as they travel with an instance, in the order of their paths."""
    return [
        Attachment(path=path, data=base64.b64encode(files[path].content).decode(), executable=files[path].executable)
        for path in sorted(files)
    ]


def image_of(files: Mapping[str, TaskFile]) -> str:
    """The name under which the folder's own environment is built: equal environments, equal names."""
    digest = hashlib.sha256()
    for path in sorted(path for path in files if path.startswith("environment/")):
        digest.update(f"{path}\0{len(files[path].content)}\0".encode() + files[path].content)
    return f"forge-harbor:{digest.hexdigest()[:16]}"


def _workdir(files: Mapping[str, TaskFile]) -> str:
    recipe = files.get("environment/Dockerfile", TaskFile(b"")).content.decode("utf-8", "replace")
    named = re.findall(r"^\s*WORKDIR\s+(/\S*)", recipe, re.MULTILINE | re.IGNORECASE)
    return named[-1] if named else _WORKDIR


def _text(files: Mapping[str, TaskFile], path: str) -> str:
    if path not in files:
        raise TaskError(f"no {path}")
    try:
        return files[path].content.decode()
    except UnicodeDecodeError:
        raise TaskError(f"{path} is not UTF-8") from None


def _table(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = settings.get(name)
    return found if isinstance(found, dict) else {}
