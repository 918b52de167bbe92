"""The frozen base: where it is, what its weights hash to, and why something is no base.

The refusals guard against mistakes, not against intent: merged weights whose mark was removed look like a base.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import safe_open

from forge.errors import BaseModelError
from forge.store.adapters import MERGED_KEY, MERGED_MARK

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.*", "spiece.model", "tekken.json", "*.tiktoken")
"""Files of which a tokenizer that transformers loads has at least one."""


def locate(base: str, revision: str | None = None) -> Path:
    """The folder of a base given as a folder or a hub id; what is no base raises `BaseModelError`."""
    folder = Path(base).expanduser()
    if not folder.is_dir():
        folder = _from_hub(base, revision)
    refuse_unless_base(folder)
    return folder


def refuse_unless_base(folder: Path) -> None:
    """Raise `BaseModelError` with the reason unless `folder` holds the full, unmerged weights of a model."""
    if (folder / "adapter_config.json").exists():
        raise BaseModelError(f"{folder} is an adapter, not a base; adapters are always trained from the frozen base: name that")
    if (folder / MERGED_MARK).exists() or _says_merged(folder / "manifest.json") or _says_merged(folder / "config.json"):
        raise BaseModelError(f"{folder} is a merged export, not a base; adapters are always trained from the frozen base: name that")
    if not (folder / "config.json").exists():
        raise BaseModelError(f"{folder} has no config.json, so it is no base model; give a model folder or a hub id")
    if not any(next(folder.glob(name), None) for name in TOKENIZERS):
        # transformers makes an empty tokenizer then, and every prompt becomes nothing.
        raise BaseModelError(f"{folder} has no tokenizer.json or other vocabulary; copy the tokenizer's files from where the base is from")
    weights = weight_files(folder)
    if not weights:
        raise BaseModelError(f"{folder} has no *.safetensors, so it is no base model; convert its weights to safetensors first")
    for file in weights:
        with safe_open(file, framework="np") as tensors:
            if MERGED_KEY in (tensors.metadata() or {}):
                raise BaseModelError(f"{file} is a merged export, not a base; adapters are always trained from the frozen base: name that")
            if any("lora_" in name for name in tensors.keys()):  # noqa: SIM118  not a mapping
                raise BaseModelError(f"{file} holds LoRA weights beside the base's; name the untouched base instead")


def weights_sha256(folder: Path) -> str:
    """Hex SHA-256 over the weight files in name order; for a single file, the hash of that file.

    Remembered per path, size and modification time, so asking again costs a `stat`.
    """
    stats = [(file, file.stat()) for file in weight_files(folder)]
    return _digest(tuple((str(file), stat.st_size, stat.st_mtime_ns) for file, stat in stats))


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, in name order."""
    return sorted(folder.glob("*.safetensors"))


@lru_cache(maxsize=32)
def _digest(files: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, _, _ in files:
        with open(path, "rb") as stream:
            while block := stream.read(2**22):
                digest.update(block)
    return digest.hexdigest()


def _says_merged(file: Path) -> bool:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and bool(content.get("merged") or content.get(MERGED_KEY))


def _from_hub(base: str, revision: str | None) -> Path:
    try:
        return Path(snapshot_download(base, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        pass
    try:
        return Path(snapshot_download(base, revision=revision))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        reason = str(error).splitlines()[0][:200]
        raise BaseModelError(f"the base '{base}' is neither a folder nor a model that can be fetched: {reason}") from error
