"""Files and folders of public sets → instances. A bad row is counted under its reason; only a file that cannot be read raises.

Taken are .json (a list, or an object of rows), .jsonl, .jsonl.gz, .parquet, a folder of `datasets.save_to_disk` or of Parquet files, a task
repository of SWE-bench 5, and Harbor's task folders, one or many.
"""

from __future__ import annotations

import base64
import datetime
import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from forge.errors import ConfigError, TaskError
from forge.records import Drop, Instance, Record
from forge.tasks.public.harbor import is_task_folder, read_folder
from forge.tasks.public.row import Row
from forge.tasks.public.sets import HARBOR, read_row, set_named
from forge.tasks.public.task_repository import is_task_repository, repository_rows

_BATCH = 256


class Loaded(Record):
    """Instances in their order, each id of a set once, and how many rows were refused by reason."""

    instances: tuple[Instance, ...]
    refused: dict[str, int] = {}


def load(path: Path, name: str | None = None, split: str = "", *, seen: Callable[[int], None] | None = None) -> Loaded:
    """The instances of a file or folder, of the set `name` or each of the set that its fields tell.

    `split` picks one of a datasets folder's. `seen` is told the number of rows so far. Raises `ConfigError` when there is
    nothing at `path` that can be read.
    """
    if folders := task_folders(path):
        return collect(folders, read_folder, seen=seen)
    if name == HARBOR:
        raise ConfigError(f"{path} holds no task folder of Harbor's: none of its folders has a task.toml")
    if name:
        set_named(name)
    return collect(rows_of(path, split), lambda row: _instance(row, name), seen=seen)


def collect(rows: Iterable[Any], read: Callable[[Any], Instance], *, seen: Callable[[int], None] | None = None) -> Loaded:
    """The instances of `rows`; what `read` refuses with `TaskError` and ids that came before are counted."""
    found: dict[tuple[str, str], Instance] = {}
    refused: Counter[str] = Counter()
    for number, row in enumerate(rows, 1):
        try:
            instance = read(row)
        except TaskError as error:
            refused[str(error)] += 1
        else:
            key = instance.set, instance.id
            if key in found:
                refused["the same id again"] += 1
            found.setdefault(key, instance)
        if seen:
            seen(number)
    return Loaded(instances=tuple(found.values()), refused=dict(refused))


def task_folders(path: Path) -> list[Path]:
    """Harbor's task folders at `path`: itself, or those in it."""
    if not path.is_dir():
        return []
    return [path] if is_task_folder(path) else sorted(folder for folder in path.iterdir() if folder.is_dir() and is_task_folder(folder))


def rows_of(path: Path, split: str = "") -> Iterator[Row | Drop]:
    """Rows of a file or folder; a line that is none is a `Drop`. Raises `ConfigError`."""
    if not path.exists():
        raise ConfigError(f"there is no {path}; give a file, a folder, or the name of a set on the hub with --hub")
    try:
        if path.is_dir():
            yield from _folder(path, split)
        elif path.name.endswith((".jsonl", ".jsonl.gz")):
            opened = gzip.open if path.suffix == ".gz" else open
            with opened(path, "rt", encoding="utf-8", errors="surrogateescape") as lines:
                yield from (_line(line) for line in lines if line.strip())
        elif path.suffix == ".json":
            whole = json.loads(path.read_text(encoding="utf-8"))
            rows = list(whole.values()) if isinstance(whole, dict) else whole
            yield from (_row(row) for row in (rows if isinstance(rows, list) else [rows]))
        elif path.suffix == ".parquet":
            yield from _batches(pq.ParquetFile(path).iter_batches(_BATCH))
        else:
            raise ConfigError(f"{path.name} is of no kind that forge reads; give .json, .jsonl (.gz), .parquet or a folder")
    except (OSError, EOFError, ValueError, pa.ArrowException) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def _instance(row: Row | Drop, name: str | None) -> Instance:
    if isinstance(row, Drop):
        raise TaskError(row.reason)
    return read_row(row, name)


def _folder(path: Path, split: str) -> Iterator[Row | Drop]:
    """A folder of `save_to_disk`, of one split or of several, or any folder with Parquet files in it."""
    splits = json.loads((path / "dataset_dict.json").read_text())["splits"] if (path / "dataset_dict.json").exists() else []
    if splits:
        if split and split not in splits:
            raise ConfigError(f"{path} has no split {split}; it has {', '.join(splits)}")
        for name in [split] if split else splits:
            yield from _folder(path / name, "")
    elif is_task_repository(path):
        yield from (_row(row) if isinstance(row, dict) else row for row in repository_rows(path, split))
    elif (path / "state.json").exists():
        for entry in json.loads((path / "state.json").read_text())["_data_files"]:
            with pa.memory_map(str(path / entry["filename"])) as source:
                yield from _batches(pa.ipc.open_stream(source))
    else:
        files = sorted(file for file in path.rglob("*.parquet") if not split or file.name.startswith(split))
        if not files:
            raise ConfigError(
                f"{path} holds neither a saved data set nor Parquet files nor task folders" + (f" of {split}" if split else "")
            )
        for file in files:
            yield from _batches(pq.ParquetFile(file).iter_batches(_BATCH))


def _batches(batches: Iterable[pa.RecordBatch]) -> Iterator[Row | Drop]:
    for batch in batches:
        yield from (_row(row) for row in batch.to_pylist())


def _line(line: str) -> Row | Drop:
    try:
        return _row(json.loads(line))
    except ValueError:
        return Drop(sha="", reason="a line that is not JSON")


def _row(row: object) -> Row | Drop:
    return _plain(row) if isinstance(row, dict) else Drop(sha="", reason="a row that is no object")


def _plain(value: Any) -> Any:
    """The value with nothing in it that JSON does not have: times as ISO 8601, bytes as base64."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
