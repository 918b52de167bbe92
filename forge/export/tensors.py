"""Tensors of safetensors files as numpy arrays, one at a time, bfloat16 included (which numpy does not know).

The format (huggingface/safetensors, README): 8 bytes header length, little endian; a JSON header of name → dtype,
shape and offsets; the tensors' bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from forge.errors import ExportError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

STORED: Mapping[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
"""How each dtype of a file lies in memory; bfloat16 as its 16 bits."""


class Place(NamedTuple):
    """Where a tensor lies: `start` is in bytes from the beginning of the file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int


class Tensors:
    """The tensors of some safetensors files, by name. Raises `ExportError` for what is no such file or no plain float."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)
        self._places = {name: place for file in files for name, place in _places(file).items()}

    @property
    def names(self) -> tuple[str, ...]:
        """All names, file by file in the order of the files."""
        return tuple(self._places)

    def place(self, name: str) -> Place:
        """Where a tensor lies."""
        return self._places[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, outputs first: a linear layer's weight is `(out, in)`."""
        return self._places[name].shape

    def read(self, name: str) -> Floats:
        """A tensor in float32, exactly: each stored value has one."""
        place = self._places[name]
        dtype = STORED[place.dtype]
        flat = np.fromfile(place.file, dtype=dtype, count=int(np.prod(place.shape, dtype=np.int64)), offset=place.start)
        return widened(flat, place.dtype).reshape(place.shape)


def widened(stored: Array, dtype: str) -> Floats:
    """Stored values as float32."""
    if dtype == "BF16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)


def narrowed(values: Floats, dtype: str) -> Array:
    """Float32 values as they are stored, rounded to the nearest, ties to even. Raises `ExportError` for one that is too large."""
    if dtype == "BF16":
        bits = np.ascontiguousarray(values).view(np.uint32)
        rounded: Array = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(STORED[dtype])
        return rounded
    with np.errstate(over="ignore"):
        stored: Array = values.astype(STORED[dtype])
    if not np.isfinite(stored).all():
        raise ExportError(f"a weight of {np.abs(values).max():.3g} is no {dtype} number; this base needs BF16 or F32")
    return stored


def write(
    file: Path,
    names: Iterable[str],
    shape: Callable[[str], tuple[int, ...]],
    read: Callable[[str], Floats],
    dtype: str,
    metadata: Mapping[str, str],
) -> int:
    """Bytes of tensors written to a safetensors file, all in one dtype, holding one of them at a time."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    ordered = sorted(names)
    for name in ordered:
        start, end = end, end + int(np.prod(shape(name), dtype=np.int64)) * STORED[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": list(shape(name)), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in ordered:
            stream.write(narrowed(read(name), dtype).tobytes())
    return end


def _places(file: Path) -> dict[str, Place]:
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length)) if length < size else None
    except (OSError, ValueError) as error:
        raise ExportError(f"{file} is no readable safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise ExportError(f"{file} is no safetensors file: it ends before its header does")
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        if entry["dtype"] not in STORED:
            raise ExportError(
                f"{file} stores {name} as {entry['dtype']}; exports need plain weights ({', '.join(STORED)}): "
                "name the base that is not quantised with --base"
            )
        if 8 + length + entry["data_offsets"][1] > size:
            raise ExportError(f"{file} ends before its tensor {name} does; copy it again")
        found[name] = Place(file, entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
    return found
