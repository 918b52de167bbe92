"""Bases and adapters as GGUF files in a workspace, each made once: what `serve` gives to llama.cpp."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from forge.config import BaseModelConfig, ForgeConfig
from forge.endpoint.tokens import BaseTokenizer
from forge.errors import EnvironmentLackError
from forge.export import quantise
from forge.export.architecture import dtype_of, read_config
from forge.export.gguf_file import write_adapter, write_model
from forge.export.lora import CONFIG, WEIGHTS, Adapter
from forge.export.lora import Weights as Tensors
from forge.export.merged import base_tensors
from forge.records import Record
from forge.store import atomic
from forge.store.adapters import file_hash
from forge.store.workspace import Workspace
from forge.training.base import weights_sha256

MADE = 1
"""Number of the way in which files are made; another one makes them anew."""
TOLD = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
"""Files of a base that its GGUF file repeats."""

Weights = Literal["f32", "f16", "q8_0", "q4_k_m"]


class GgufFiles(Record):
    """Implements `serve.llama.material.Material` for the base in a folder; files are kept in `folder` under the hash of what they hold."""

    base: str
    folder: str
    bits: Weights

    def weights(self) -> Path:
        """The base. Raises `ExportError` for one that GGUF cannot carry, `EnvironmentLackError` on a full disk or without a quantiser."""
        base, sha256 = Path(self.base), weights_sha256(Path(self.base))
        told = [file_hash(base / name) for name in TOLD if (base / name).is_file()]
        file = self._file(f"base-{self.bits}", [sha256, *told])
        return self._made(file, partial(self._write_base, sha256))

    def adapter(self, folder: Path) -> Path:
        """An adapter of the store. Raises `ExportError` for one that is damaged or of another base."""
        sha256 = weights_sha256(Path(self.base))
        file = self._file("adapter", [sha256, file_hash_of(folder / CONFIG), file_hash_of(folder / WEIGHTS)])
        return self._made(file, partial(self._write_adapter, sha256, folder))

    def tokenizer(self) -> BaseTokenizer:
        return BaseTokenizer(Path(self.base))

    def _file(self, kind: str, parts: list[str]) -> Path:
        name = hashlib.sha256(json.dumps([MADE, kind, *parts]).encode()).hexdigest()[:24]
        return Path(self.folder) / f"{kind}-{name}.gguf"

    def _made(self, file: Path, write: Callable[[Path], None]) -> Path:
        """The file, written unless it is there; one process writes, others wait."""
        try:
            with atomic.locked(file.with_suffix(".lock")):
                if not file.is_file():
                    with atomic.replacing(file) as temporary:
                        write(temporary)
        except OSError as error:
            raise EnvironmentLackError(
                f"cannot write {file}: {error.strerror or error}; free space, or choose another disk with workspace=PATH"
            ) from error
        return file

    def _write_base(self, sha256: str, file: Path) -> None:
        base = Path(self.base)
        whole = file.with_suffix(".f16") if self.bits == "q4_k_m" else file
        try:
            written = "f16" if self.bits == "q4_k_m" else self.bits
            write_model(whole, base, Tensors(base_tensors(base)), name=base.name, base_sha256=sha256, bits=written, ids_only=True)
            if whole != file:
                quantise.to_q4_k_m(whole, file)
        finally:
            if whole != file:
                whole.unlink(missing_ok=True)

    def _write_adapter(self, sha256: str, folder: Path, file: Path) -> None:
        base, adapter = Path(self.base), Adapter(folder)
        Tensors(base_tensors(base), adapter)  # refuses one of another base
        write_adapter(file, base, adapter, name=folder.name, base_sha256=sha256)


class GgufFactory(Record):
    """Makes the files of a base's folder in one workspace, as small as the configuration says."""

    folder: str
    bits: Literal["auto", "f32", "f16", "q8_0", "q4_k_m"]

    def __call__(self, base: Path) -> GgufFiles:
        return GgufFiles(base=str(base), folder=self.folder, bits=self.bits if self.bits != "auto" else natural(base))


def gguf_of(config: ForgeConfig) -> GgufFactory:
    """What makes GGUF files of the bases of a configuration, in its workspace."""
    return GgufFactory(folder=str(Workspace(config.workspace_path).gguf), bits=config.serve.gguf_weights)


def natural(base: Path) -> Weights:
    """How small a base's weights are where nobody says it: no smaller than it is run in, so that what was trained on it fits."""
    return "f32" if dtype_of(read_config(base)) == "F32" else "f16"


def bits_of(config: ForgeConfig, base: BaseModelConfig, folder: Path) -> Weights:
    """How small the weights of a base are served; those that were 4 bits at training are no exacter than 4 bits."""
    return "q4_k_m" if base.load_in_4bit else gguf_of(config)(folder).bits


def file_hash_of(file: Path) -> str:
    """Hash of an adapter's file, of nothing where it is missing: whoever reads it says so."""
    return file_hash(file) if file.is_file() else ""
