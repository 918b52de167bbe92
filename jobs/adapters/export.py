"""`forge export`: adapters of a workspace, and the base they were trained from, to a format."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from rich.console import Console

from forge import nano
from forge.errors import BaseModelError, ConfigError, ForgeError
from forge.export.formats import export as write
from forge.export.formats import format_named
from forge.export.request import Request
from forge.records import AdapterRef
from forge.training.base import refuse_unless_base, weights_sha256
from jobs.adapters.opened import meant, reading


def export(root: Path, names: Sequence[str], to: str, out: Path, quantise: str, base: str | None, console: Console) -> list[Path]:
    """Write the folder `out`, with one below it for each base where there are several, and print the files.

    Raises a `ForgeError` with one sentence for whatever is wrong.
    """
    form = format_named(to)
    with reading(root) as store:
        ids = list(dict.fromkeys(meant(store, names)))
        refs = tuple(store.get(model_id) for model_id in ids)
        configs = {ref.base_sha256: store.manifest(ref.model_id).config for ref in refs}
    if base and len(configs) > 1:
        raise ConfigError(f"--base names one base, and these adapters have {len(configs)}; export those of each base on their own")
    requests = {}
    for sha256, config in configs.items():
        own = tuple(ref for ref in refs if ref.base_sha256 == sha256)
        folder = base_of(own[0], config, base)
        name = str(folder.resolve()) if Path(base or own[0].base).expanduser().is_dir() or own[0].base == "nano" else own[0].base
        place = out / f"{Path(own[0].base).name}-{sha256[:6]}" if len(configs) > 1 else out
        requests[place] = Request(own, folder, name, quantise, context_of(own[0], config))
    if len(requests) > 1 and out.exists():
        raise ConfigError(f"{out} exists; an export writes a new folder: choose another --out or remove it")
    try:
        files = [file for place, request in requests.items() for file in write(form, request, place)]
    except ForgeError:
        if len(requests) > 1:
            shutil.rmtree(out, ignore_errors=True)
        raise
    for file in files:
        console.print(f"  {file}  {file.stat().st_size:,} bytes", soft_wrap=True)
    return files


def base_of(ref: AdapterRef, config: Mapping[str, Any], named: str | None = None) -> Path:
    """The folder of the very base that an adapter was trained from.

    Raises `BaseModelError` when it is not there, or has other weights than the manifest says.
    """
    if named is None and ref.base == "nano":
        folder = nano.WEIGHTS
    else:
        folder = _here(named or ref.base, None if named else _settings(ref, config).get("revision"))
    refuse_unless_base(folder)
    found = weights_sha256(folder)
    if found != ref.base_sha256:
        raise BaseModelError(
            f"{ref.model_id} was trained from {ref.base} with weights sha256 {ref.base_sha256[:16]}, those in {folder} are {found[:16]}; "
            "name the folder of the right ones with --base"
        )
    return folder


def context_of(ref: AdapterRef, config: Mapping[str, Any]) -> int | None:
    """Longest prompt and answer in tokens that the run was set to; `None` when its configuration does not say."""
    found = _settings(ref, config).get("max_model_tokens")
    return int(found) if found else None


def _settings(ref: AdapterRef, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the run's configuration says of the base."""
    return next((base for base in config.get("bases", {}).values() if base.get("model") == ref.base), {})


def _here(base: str, revision: str | None) -> Path:
    """The folder of a base that is on this machine: an export downloads nothing."""
    folder = Path(base).expanduser()
    if folder.is_dir():
        return folder
    try:
        return Path(snapshot_download(base, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise BaseModelError(f"the base '{base}' is not on this machine; name its folder with --base") from error
