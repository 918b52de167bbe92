"""A model folder in which an adapter is part of the weights: for programs that know no adapters, never to train from.

Three marks say so: `merged.json` in the folder, `merged_adapters` in `config.json`, and the same in the header of each
weight file, which stays when the file is copied elsewhere. `forge.training.base` refuses each of them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from forge.errors import ExportError
from forge.export.architecture import dtype_of, read_config
from forge.export.lora import Adapter, Weights
from forge.export.tensors import Tensors, write
from forge.records import AdapterRef
from forge.store.adapters import MERGED_KEY, MERGED_MARK

BESIDE = ("generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")
BESIDE_OLD = ("vocab.json", "merges.txt", "added_tokens.json", "LICENSE")
INDEX = "model.safetensors.index.json"


def base_tensors(base: Path) -> Tensors:
    """The tensors of a base folder."""
    files = sorted(base.glob("*.safetensors"))
    if not files:
        raise ExportError(f"{base} has no *.safetensors, so there is nothing to export")
    return Tensors(files)


def write_merged(folder: Path, base: Path, adapter: Adapter, ref: AdapterRef) -> None:
    """`folder`, now the base with the adapter in its weights, in the dtype that the base is run in and the base's own files."""
    config, tensors = read_config(base), base_tensors(base)
    weights = Weights(tensors, adapter)
    folder.mkdir(parents=True)
    dtype = dtype_of(config) or tensors.place(tensors.names[0]).dtype
    total = 0
    for file in tensors.files:
        names = [name for name in tensors.names if tensors.place(name).file == file]
        metadata = {"format": "pt", MERGED_KEY: ref.model_id}
        total += write(folder / file.name, names, weights.shape, weights.read, dtype, metadata)
    if (base / INDEX).exists():
        index = json.loads((base / INDEX).read_text(encoding="utf-8"))
        index["metadata"] = index.get("metadata", {}) | {"total_size": total}
        _write_json(folder / INDEX, index)
    for name in (*BESIDE, *BESIDE_OLD):
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    _write_json(folder / "config.json", config | {MERGED_KEY: [ref.model_id]})
    _write_json(folder / MERGED_MARK, {"merged": True, "adapter": ref.model_id, "base": ref.base, "base_sha256": ref.base_sha256})


def _write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
