"""Instances → files of their own sets: rows as .json, .jsonl or .parquet, Harbor's as folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from forge.errors import ConfigError
from forge.records import Instance
from forge.store import atomic
from forge.tasks.public.harbor import TaskFile, files_of
from forge.tasks.public.sets import HARBOR, write_row


def save(path: Path, instances: Sequence[Instance]) -> int:
    """Write the instances as their set ships them; returns their number. Raises `ConfigError` for another kind of file."""
    if any(instance.set == HARBOR for instance in instances):
        for instance in instances:
            save_folder(path / instance.id, files_of(instance))
        return len(instances)
    return save_rows(path, [write_row(instance) for instance in instances])


def save_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> int:
    """Write rows to one file, atomically, in the format that its name tells."""
    if path.suffix == ".json":
        atomic.write_text(path, json.dumps(list(rows), indent=1))
    elif path.suffix == ".jsonl":
        atomic.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        with atomic.replacing(path) as temporary:
            pq.write_table(pa.Table.from_pylist(list(rows), schema=_schema(rows)), temporary, compression="zstd")
    else:
        raise ConfigError(f"cannot write rows to {path.name}; give a name that ends in .json, .jsonl or .parquet")
    return len(rows)


def save_folder(folder: Path, files: Mapping[str, TaskFile]) -> None:
    """Write the files of one task folder; each appears whole."""
    for path, file in files.items():
        atomic.write_bytes(folder / path, file.content)
        if file.executable:
            (folder / path).chmod(0o755)


def _schema(rows: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """Every column of any row: Arrow takes those of the first row alone."""
    names = dict.fromkeys(name for row in rows for name in row)
    samples = [pa.Table.from_pylist([{name: row[name]} for row in rows if row.get(name) is not None] or [{name: None}]) for name in names]
    return pa.schema([table.schema.field(0) for table in samples])
