"""Rows that seed, tasks that must not, and which of the aligned rows a loop may train on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from forge.config import ContaminationConfig, ForgeConfig
from forge.errors import ConfigError
from forge.mining.align.folder import NAME, AlignedFolder
from forge.mining.align.select import benchmarks_of
from forge.mining.align.teach import Aligned, example_of
from forge.mining.folder import MinedFolder
from forge.mining.row import Row
from forge.records import Example, Task
from forge.rounds.select import leaked
from forge.stages.stage import PromptStyle
from forge.store.parquet import read_records, read_tasks, stream_records
from forge.store.workspace import Workspace

MINED = "mined"
"""The folder of a run's workspace that `forge improve` mines into."""


def mined_folder(config: ForgeConfig) -> MinedFolder:
    """The mined set whose functions are the seeds; raises `ConfigError` when there is none."""
    root = config.workspace_path
    places = [Path(config.align.data).expanduser()] if config.align.data else [root / MINED, root]
    for place in places:
        if next((place / "commits").glob("*.parquet"), None):
            return MinedFolder(place)
    raise ConfigError(f"{places[-1]} holds no mined rows, which seeds are taken from; run forge mine, and give its folder with --data")


def rows_in(folder: MinedFolder) -> Iterator[Row]:
    """Every kept row, a row group in memory at a time."""
    for file in sorted(folder.commits.glob("*.parquet")):
        yield from stream_records(file, Row)


def tasks_of(workspace: Workspace) -> list[Task]:
    """The proven tasks of a workspace, if it has any yet."""
    file = workspace.tasks / "tasks.parquet"
    return read_tasks(file) if file.is_file() else []


def heldout_files(tasks: Sequence[Task]) -> set[tuple[str, str]]:
    """(repository, path) of what is not trained on."""
    return {(task.repo, path) for task in tasks if task.side != "train" for path in task.files}


def aligned_in(workspace: Path) -> list[Aligned]:
    """What `forge align` kept in a workspace; raises `ConfigError` when it never ran there."""
    folder = AlignedFolder(workspace / NAME)
    if not folder.kept.is_file():
        raise ConfigError(
            f"rounds.aligned_share wants aligned rows, and {folder.root} has none; run forge align there first, or set it to 0"
        )
    return read_records(folder.kept, Aligned)


def trainable(
    found: Sequence[Aligned],
    tasks: Sequence[Task],
    *,
    heldout: Collection[tuple[str, str]],
    transfer: Collection[str],
    config: ContaminationConfig,
    style: PromptStyle,
) -> tuple[list[Example], Counter[str]]:
    """The rows that no held-out file, task or transfer repository is behind, and counts of the others by reason.

    Sides are those of the loop that trains, whatever was known when the rows were made.
    """
    drops: Counter[str] = Counter()
    known, hidden = benchmarks_of({}, tasks, config), [task for task in tasks if task.side != "train"]
    outside = {*heldout, *heldout_files(tasks)}
    rows: list[Example] = []
    for one in found:
        row, line = example_of(one, style), one.lineage
        if line.repo in transfer or any((line.repo, path) in outside for path in line.files) or leaked([row], hidden):
            drops["its seed is held out"] += 1
        elif known.of(f"{one.instruction}\n{one.code}"):
            drops["like a held-out task"] += 1
        else:
            rows.append(row)
    return rows, drops
