"""A folder of data files that is written line by line and appears when all of it is there."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from forge.errors import ConfigError
from forge.store import atomic

ROW_GROUP = 1000
"""Rows of a Parquet file that are held until they are written."""


class Line(NamedTuple):
    """One row of a data file."""

    fields: dict[str, Any]
    part: str = ""
    """Sub-folder for rows that are trained on apart from the others, such as a stage's name."""
    heldout: bool = False


class Part(NamedTuple):
    """One data file; `path` is relative to its folder."""

    path: str
    part: str
    heldout: bool
    rows: int


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` that takes its name on a clean exit. Raises `ConfigError` when `folder` holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already and not empty; remove it or name another folder")
    temporary = folder.with_name(f"{atomic.TEMPORARY}{uuid.uuid4().hex}-{folder.name}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if folder.exists():
            folder.rmdir()
        atomic.move_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class Writer:
    """Data files of one folder, each opened when its first line comes: `train` and `test`, a sub-folder for each part."""

    def __init__(self, root: Path, kind: str) -> None:
        self._root, self._kind = root, kind
        self._open: dict[tuple[str, bool], _File] = {}
        self._rows: dict[tuple[str, bool], int] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, line: Line) -> None:
        """Write one line."""
        key = line.part, line.heldout
        if key not in self._open:
            path = self._root / self._path(*key)
            path.parent.mkdir(parents=True, exist_ok=True)
            file: _File = _Parquet(path) if self._kind == "parquet" else _JsonLines(path)
            self._stack.callback(file.close)
            self._open[key], self._rows[key] = file, 0
        self._open[key].add(line.fields)
        self._rows[key] += 1

    def parts(self) -> list[Part]:
        """The files so far, in the order of their paths."""
        return sorted(Part(self._path(part, heldout), part, heldout, rows) for (part, heldout), rows in self._rows.items())

    def _path(self, part: str, heldout: bool) -> str:
        name = f"{'test' if heldout else 'train'}.{self._kind}"
        return f"{part}/{name}" if part else name


class _File(Protocol):
    def add(self, fields: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class _JsonLines:
    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("w", encoding="utf-8", newline="\n")

    def add(self, fields: dict[str, Any]) -> None:
        self._file.write(json.dumps(fields, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._file.close()


class _Parquet:
    """The schema is that of the first row group; every row of a format has the same columns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None

    def add(self, fields: dict[str, Any]) -> None:
        self._waiting.append(fields)
        if len(self._waiting) >= ROW_GROUP:
            self._flush()

    def close(self) -> None:
        if self._waiting:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        table = pa.Table.from_pylist(self._waiting, schema=self._writer.schema if self._writer else None)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table)
        self._waiting = []
