"""Where a suite's rows are: a file, a folder, or the hub."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from forge.config import EvaluationConfig
from forge.errors import ConfigError
from forge.evals.suites.problem import Problem
from forge.evals.suites.registry import SUITES, Hub, problems
from forge.records import Drop
from forge.tasks.public.load import rows_of

ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".parquet", "")


def read_problems(config: EvaluationConfig, name: str) -> list[Problem]:
    """The problems of a suite, the first `limit` of them.

    Raises `ConfigError`, and `EnvironmentLackError` when the hub is needed and cannot be reached.
    """
    suite, path = SUITES[name], _place(config, name)
    if path is not None:
        return problems(suite, _rows(path), str(path))[: config.limit]
    assert suite.hub is not None
    return problems(suite, hub(suite.hub), suite.hub.name)[: config.limit]


def check_rows(config: EvaluationConfig, name: str) -> None:
    """Return when a suite's rows can be had and the first of them that counts is one of its own; raises `ConfigError`. Asks no hub."""
    suite, path = SUITES[name], _place(config, name)
    if path is not None:
        problems(suite, islice((row for row in _rows(path) if suite.counts(row)), 1), str(path))


def _place(config: EvaluationConfig, name: str) -> Path | None:
    """Where a suite's rows are, `None` for the hub."""
    if config.data is not None:
        return place_of(Path(config.data), name, alone=len(config.suites) == 1)
    if SUITES[name].hub is None:
        raise ConfigError(f"{name} is not on the hub in a form that can be loaded; fetch its files and give --data PATH")
    return None


def place_of(data: Path, name: str, *, alone: bool) -> Path:
    """The file or folder of a suite: `data` itself when it is the only one, or what bears its name in the folder `data`."""
    for ending in ENDINGS:
        if (data / f"{name}{ending}").exists():
            return data / f"{name}{ending}"
    if alone:
        return data
    raise ConfigError(f"{data} holds nothing named {name}; with several suites, --data is a folder with {name}.jsonl or the like in it")


def hub(place: Hub) -> Iterator[dict[str, Any]]:
    """The rows of a set on the hub; raises `EnvironmentLackError`."""
    # The hub's client takes seconds to import, and most evaluations read files.
    from forge.tasks.public.hub import hub_rows

    yield from map(dict, hub_rows(place.name, place.split, place.config or None))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, or of all `.jsonl` files of a folder in the order of their names, or of its Parquet files."""
    parts = sorted([*path.glob("*.jsonl"), *path.glob("*.jsonl.gz")]) if path.is_dir() else []
    for part in parts or [path]:
        for number, row in enumerate(rows_of(part), 1):
            if isinstance(row, Drop):
                raise ConfigError(f"row {number} of {part} is {row.reason}")
            yield dict(row)
