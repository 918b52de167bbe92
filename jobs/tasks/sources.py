"""What a workspace, a file or a folder holds: forge's own tasks with their trees, and instances of public sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from forge.errors import ConfigError
from forge.records import Environment, Instance, Task
from forge.seams import FindEnvironment, own_python
from forge.store.parquet import read_records, read_tasks
from forge.store.trees import TreeStore
from forge.store.workspace import Workspace
from forge.tasks.public.harbor import is_task_folder
from forge.tasks.public.load import load
from forge.tasks.public.task_repository import is_task_repository
from jobs.wiring import known_environments, listed_environments

PUBLIC = "public"
"""Folder below a workspace's tasks that holds one file a set."""


@dataclass(frozen=True)
class Source:
    """Tasks and instances, where the trees are, and where a journal about them may lie."""

    tasks: Sequence[Task]
    instances: Sequence[Instance]
    journal: Path
    trees: TreeStore | None = None
    generated: frozenset[str] = frozenset()
    """Repositories that forge generated: code that may run in a sandbox that is for trusted code only."""
    refused: dict[str, int] = field(default_factory=dict)
    environments: FindEnvironment = own_python
    """Where the tasks' code runs, made ready on this machine."""
    listed: dict[str, Environment] = field(default_factory=dict)
    """The same environments by id, as they are on record."""


def read_source(path: Path, named: str | None = None, split: str = "") -> Source:
    """All that is at `path`; raises `ConfigError` when that is nothing, `StoreError` when it is damaged."""
    if (path / "tasks").is_dir() and not is_task_repository(path) and not is_task_folder(path):
        return _workspace(path)
    kind = _kind(path)
    journal = path.parent / f".{path.name}.verified.jsonl"
    if kind == "Task":
        trees, known = TreeStore(path.parent.parent / "trees"), known_environments(path.parent)
        return Source(read_tasks(path), (), journal, trees, environments=known, listed=listed_environments(path.parent))
    if kind == "Instance":
        return Source((), read_records(path, Instance), journal)
    loaded = load(path, named, split)
    return Source((), loaded.instances, journal, refused=loaded.refused)


def public_files(workspace: Workspace) -> list[Path]:
    """The files of public sets in a workspace, in the order of the sets' names."""
    return sorted(path for path in (workspace.tasks / PUBLIC).glob("*.parquet") if not path.name.startswith("."))


def _workspace(path: Path) -> Source:
    workspace = Workspace(path)
    made = [workspace.tasks / name for name in ("tasks.parquet", "injected.parquet")]
    tasks = [task for file in made if file.exists() for task in read_tasks(file)]
    instances = [instance for file in public_files(workspace) for instance in read_records(file, Instance)]
    if not tasks and not instances:
        raise ConfigError(f"{path} holds no tasks yet; make some with forge improve, or take some in with forge tasks import")
    generated = frozenset(folder.name for folder in (path / "repositories").glob("*"))
    return Source(
        tasks,
        instances,
        workspace.tasks / "verified.jsonl",
        TreeStore(workspace.trees),
        generated,
        environments=known_environments(workspace.tasks),
        listed=listed_environments(workspace.tasks),
    )


def _kind(path: Path) -> str:
    """The record type of a Parquet file of forge's, nothing for anything else."""
    if path.suffix != ".parquet" or not path.is_file():
        return ""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    return str(metadata.get(b"forge", b"").decode().partition(":")[0])
