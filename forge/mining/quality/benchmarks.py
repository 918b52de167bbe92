"""The texts of benchmarks and held-out tasks, from local files or from the hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import datasets

from forge.errors import ConfigError

HUB = {
    "humaneval": ("openai/openai_humaneval", "test", ("prompt", "canonical_solution", "test")),
    "mbpp": ("google-research-datasets/mbpp", "test", ("text", "code", "test_list")),
    "livecodebench": ("livecodebench/code_generation_lite", "test", ("question_content", "starter_code")),
    "bigcodebench": ("bigcode/bigcodebench", "v0.1.4", ("complete_prompt", "instruct_prompt", "canonical_solution", "test")),
    "swe-bench": ("princeton-nlp/SWE-bench", "test", ("patch", "test_patch", "problem_statement")),
}
"""Known benchmarks: hub name, split, and the columns that a model must not have seen."""


def load_sets(names: Sequence[str]) -> dict[str, list[str]]:
    """The texts of each named set: a known name, a hub name, or a path. Raises `ConfigError` when one cannot be had."""
    return {name: list(_texts(name)) for name in names}


def _texts(name: str) -> Iterator[str]:
    hub, split, columns = HUB.get(name.lower(), (name, "test", ()))
    try:
        rows = _local(Path(name)) if Path(name).exists() else datasets.load_dataset(hub, split=split)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"mining.contamination.sets: {name} cannot be loaded ({type(error).__name__}: {reason}); give a file of it"
        ) from error
    for row in rows:
        yield from (str(value) for column, value in row.items() if value and (column in columns or not columns))


def _local(path: Path) -> Iterable[Mapping[str, object]]:
    if path.is_dir():
        found = datasets.load_from_disk(str(path))
        return [row for part in found.values() for row in part] if hasattr(found, "values") else found
    kind = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}.get(path.suffix)
    if kind is None:
        raise ConfigError(f"{path} is no .jsonl, .json, .parquet or .csv file")
    loaded: Iterable[Mapping[str, object]] = datasets.load_dataset(kind, data_files=str(path), split="train")
    return loaded
