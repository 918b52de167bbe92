"""Exercises of a public set from files, from a folder, or from the hub, read as they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub

from forge.errors import ConfigError, EnvironmentLackError
from forge.mining.public.columns import Columns
from forge.mining.public.instruct import Instruct
from forge.mining.public.sets import PublicSet, set_named, set_of

_ANSWER_S = 10.0
_READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}
NEEDS_BOTH = "without question or answer"
UNKNOWN = "columns of no known set"


class Exercises:
    """The exercises of `rows`, in their order, to be read once. `refused` counts the rows left out so far by reason."""

    def __init__(self, rows: Iterable[Columns], known: PublicSet | None = None) -> None:
        self._rows, self._known = rows, known
        self.refused: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Instruct]:
        for row in self._rows:
            known = self._known or set_of(row)
            if known is None:
                self.refused[UNKNOWN] += 1
                continue
            found = known.exercise(row)
            if found.instruction.strip() and found.answer.strip():
                yield found
            else:
                self.refused[NEEDS_BOTH] += 1


def load(where: str | Path, name: str | None = None, *, split: str = "train") -> Exercises:
    """The exercises of a file, of a folder of files or of `save_to_disk`, all of the set `name` or each of the set it looks like.

    Raises `ConfigError` when there is nothing there that can be read.
    """
    known = set_named(name) if name else None
    path = Path(where)
    if (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file():
        found: Any = datasets.load_from_disk(str(path))
        return Exercises(found[split] if isinstance(found, datasets.DatasetDict) else found, known)
    files = sorted(file for file in path.rglob("*") if file.suffix in _READERS) if path.is_dir() else [path]
    if not files or not all(file.is_file() and file.suffix in _READERS for file in files):
        raise ConfigError(f"{where} is no file or folder of {', '.join(sorted(_READERS))}")
    return Exercises(_rows(files), known)


def from_hub(name: str, *, split: str = "train", language: str = "python") -> Exercises:
    """The exercises of a known set from the hub, streamed. `language` is for sets that are kept by language.

    Raises `EnvironmentLackError` when the hub cannot be reached.
    """
    known = set_named(name)
    try:
        # Asked first because `datasets` tries for half a minute before it gives up.
        huggingface_hub.HfApi().dataset_info(known.hub, timeout=_ANSWER_S)
    except Exception as error:  # the hub's client raises whatever its transport does
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise EnvironmentLackError(f"cannot load {known.hub} from the hub ({first}); fetch its files where there is a network") from error
    return Exercises(_hub_rows(known, split, language), known)


def _hub_rows(known: PublicSet, split: str, language: str) -> Iterator[Columns]:
    if known.files:
        address = f"hf://datasets/{known.hub}/{known.files.format(language=language)}"
        yield from datasets.load_dataset("json", data_files=address, split="train", streaming=True)
        return
    for config in known.configs or (None,):
        yield from datasets.load_dataset(known.hub, config, split=split, streaming=True)


def _rows(files: Iterable[Path]) -> Iterator[Columns]:
    """Rows of files one after the other: their columns may differ."""
    for file in files:
        try:
            yield from datasets.load_dataset(_READERS[file.suffix], data_files=str(file), split="train", streaming=True)
        except (datasets.exceptions.DatasetGenerationError, ValueError, OSError) as error:
            raise ConfigError(f"cannot read {file}: {error}") from error
