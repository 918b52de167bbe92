"""Records to Parquet files and back, exactly; the Arrow schema of a record type derives from its fields.

A record inside a record is a struct, a tuple is a list, a `dict[str, V]` is a map, an enum or a literal is
its string. Every file says which record type and schema version it holds; reading another one raises.
"""

from __future__ import annotations

import types
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq

from forge.errors import StoreError
from forge.records import Example, Record, Task, Trajectory
from forge.store import atomic

R = TypeVar("R", bound=Record)

GROUP = 64
"""Records in one row group of a streamed file: whole sources of a commit are some 100 KB."""
SCALARS: dict[type, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def write_records(path: Path, rows: Sequence[R], kind: type[R] | None = None) -> int:
    """Write `rows` to one Parquet file, atomically; returns their number. `kind` is needed when there are none."""
    of = kind or (type(rows[0]) if rows else None)
    if of is None:
        raise StoreError(f"{path}: no rows and no record type, so there is no schema to write; pass kind=")
    with atomic.replacing(path) as temporary:
        pq.write_table(to_table(rows, of), temporary, compression="zstd")
    return len(rows)


def read_records(path: Path, kind: type[R]) -> list[R]:
    """The records of one Parquet file, or of every `*.parquet` in a folder, in name order.

    Raises `StoreError` when a file is missing, unreadable, or holds another type or schema version.
    """
    if path.is_dir():
        files = sorted(file for file in path.glob("*.parquet") if not file.name.startswith(atomic.TEMPORARY))
        return [record for file in files for record in read_records(file, kind)]
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"cannot read {path}: {error}") from error
    return from_table(table, kind, str(path))


def stream_records(path: Path, kind: type[R], columns: Sequence[str] | None = None) -> Iterator[R]:
    """The records of one file, a row group in memory at a time; with `columns` alone, the others keep their defaults.

    Raises `StoreError` as `read_records` does.
    """
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield from from_table(file.read_row_group(group, columns=columns), kind, str(path))
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"cannot read {path}: {error}") from error


def read_column(path: Path, name: str) -> list[Any]:
    """One column of a file, without reading the others; raises `StoreError` as `read_records` does."""
    try:
        found: list[Any] = pq.read_table(path, columns=[name]).column(name).to_pylist()
    except (OSError, KeyError, pa.ArrowException) as error:
        raise StoreError(f"cannot read {name} of {path}: {error}") from error
    return found


class RecordWriter(Generic[R]):
    """Records to one file as they come, `GROUP` in memory at a time; the file appears when `close` is called."""

    def __init__(self, path: Path, kind: type[R]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._kind = path, kind
        self._temporary = path.with_name(f"{atomic.TEMPORARY}{uuid.uuid4().hex}-{path.name}")
        self._file = pq.ParquetWriter(self._temporary, schema_of(kind), compression="zstd")
        self._waiting: list[R] = []
        self.count = 0

    def add(self, record: R) -> None:
        """Write one more."""
        self._waiting.append(record)
        self.count += 1
        if len(self._waiting) == GROUP:
            self._flush()

    def close(self) -> int:
        """Put the file in its place, whole and synced; returns the number of its records."""
        self._flush()
        self._file.close()
        atomic.sync_file(self._temporary)
        self._temporary.replace(self._path)
        atomic.sync_folder(self._path.parent)
        return self.count

    def give_up(self) -> None:
        """Leave nothing behind; harmless after `close`."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._waiting:
            self._file.write_table(to_table(self._waiting, self._kind))
            self._waiting = []


@contextmanager
def writing(path: Path, kind: type[R]) -> Iterator[RecordWriter[R]]:
    """A writer whose file appears on a clean exit alone."""
    writer = RecordWriter(path, kind)
    try:
        yield writer
        writer.close()
    finally:
        writer.give_up()


def write_examples(path: Path, rows: Sequence[Example]) -> int:
    """Write training rows; returns their number."""
    return write_records(path, rows, Example)


def read_examples(path: Path) -> list[Example]:
    """The training rows of a file or folder."""
    return read_records(path, Example)


def write_tasks(path: Path, rows: Sequence[Task]) -> int:
    """Write tasks; returns their number."""
    return write_records(path, rows, Task)


def read_tasks(path: Path) -> list[Task]:
    """The tasks of a file or folder."""
    return read_records(path, Task)


def write_trajectories(path: Path, rows: Sequence[Trajectory]) -> int:
    """Write trajectories; returns their number."""
    return write_records(path, rows, Trajectory)


def read_trajectories(path: Path) -> list[Trajectory]:
    """The trajectories of a file or folder."""
    return read_records(path, Trajectory)


def to_table(rows: Iterable[Record], kind: type[Record]) -> pa.Table:
    """An Arrow table of `rows`, tagged with the record type and its schema version."""
    return pa.Table.from_pylist([row.model_dump(mode="python") for row in rows], schema=schema_of(kind))


def from_table(table: pa.Table, kind: type[R], where: str = "table") -> list[R]:
    """The records of an Arrow table that `to_table` made; raises `StoreError` for another type or version."""
    found = (table.schema.metadata or {}).get(b"forge", b"nothing of forge").decode()
    if found != _tag(kind):
        raise StoreError(f"{where} holds {found}, not {_tag(kind)}; it was written by another version of forge: start a new workspace")
    maps = _map_paths(kind)
    rows = table.to_pylist(maps_as_pydicts="strict" if maps else None)
    return [kind.model_validate(row) for row in rows]


@cache
def schema_of(kind: type[Record]) -> pa.Schema:
    """The Arrow schema of a record type, derived from its fields."""
    return pa.schema(_fields(kind), metadata={"forge": _tag(kind)})


def _tag(kind: type[Record]) -> str:
    return f"{kind.__name__}:{kind.schema_version}"


def _fields(kind: type[Record]) -> list[pa.Field]:
    return [pa.field(name, *_arrow(field.annotation, f"{kind.__name__}.{name}")) for name, field in kind.model_fields.items()]


def _arrow(annotation: Any, where: str) -> tuple[pa.DataType, bool]:
    """Arrow type of a field and whether it may be null."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        rest = [argument for argument in arguments if argument is not type(None)]
        if len(rest) == 1 and len(rest) < len(arguments):
            return _arrow(rest[0], where)[0], True
    if origin is Literal:
        return _arrow(type(arguments[0]), where)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        item, nullable = _arrow(arguments[0], where)
        return pa.list_(pa.field("item", item, nullable)), False
    if origin is dict and arguments[0] is str:
        item, nullable = _arrow(arguments[1], where)
        return pa.map_(pa.string(), pa.field("value", item, nullable)), False
    if isinstance(annotation, type):
        if issubclass(annotation, Enum):
            return pa.string(), False
        if issubclass(annotation, Record):
            return pa.struct(_fields(annotation)), False
        if annotation in SCALARS:
            return SCALARS[annotation], False
    raise StoreError(f"{where}: no Arrow type for {annotation}; use scalars, tuples, dicts with string keys, enums or records")


@cache
def _map_paths(kind: type[Record]) -> bool:
    return any(_has_map(field.type) for field in schema_of(kind))


def _has_map(kind: pa.DataType) -> bool:
    return pa.types.is_map(kind) or any(_has_map(kind.field(index).type) for index in range(kind.num_fields))
