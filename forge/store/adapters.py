"""The adapter store: `adapters/<stage>/<version>/` with a manifest that carries the whole lineage.

A manifest holds the `AdapterRef` (base and its hash, data hash, rank, metrics), the hash of every file, the
configuration it was trained with and the version of forge. Files are checked against it before a version is
handed out. Which versions are promoted stands in the ledger and changes for all stages at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import forge
from forge.errors import StoreError
from forge.records import AdapterRef
from forge.store import atomic
from forge.store.ledger import Ledger

MANIFEST = "manifest.json"


class FolderAdapterStore:
    """`forge.seams.AdapterStore` over a folder and a ledger."""

    def __init__(self, root: Path, ledger: Ledger) -> None:
        self.root = root
        self.ledger = ledger
        self._verified: set[Path] = set()

    def add(self, folder: Path, ref: AdapterRef, *, config: Mapping[str, Any] | None = None) -> AdapterRef:
        """The stored version; `folder` is moved in atomically. The same version with other files is refused."""
        files = file_hashes(folder)
        if not files:
            raise StoreError(f"{folder} holds no files, so it is no adapter; look at the training log of {ref.stage}")
        target = self.root / ref.stage / ref.version
        if target.exists():
            kept = _manifest(target)
            if kept["files"] != files:
                raise StoreError(f"{ref.model_id} exists with other weights; a version is never changed: choose another version")
        else:
            body = {
                "ref": ref.model_dump(mode="json") | {"path": ""},
                "files": files,
                "config": dict(config or {}),
                "forge": forge.__version__,
            }
            atomic.write_text(folder / MANIFEST, json.dumps(body, indent=1, sort_keys=True))
        atomic.move_folder(folder, target)
        return self._read(target)

    def list(self, stage: str | None = None) -> list[AdapterRef]:
        """All versions, oldest round first, each checked against its hashes."""
        folders = [
            path.parent for path in self.root.glob(f"{stage or '*'}/*/{MANIFEST}") if not path.parent.name.startswith(atomic.TEMPORARY)
        ]
        return sorted((self._read(folder) for folder in folders), key=lambda ref: (ref.round, ref.stage, ref.version))

    def get(self, model_id: str) -> AdapterRef:
        """One version by its `stage@version`; raises `StoreError` when it is not there."""
        stage, _, version = model_id.partition("@")
        folder = self.root / stage / version
        if not version or not (folder / MANIFEST).exists():
            raise StoreError(f"there is no adapter {model_id} in {self.root}")
        return self._read(folder)

    def promoted(self) -> Mapping[str, AdapterRef]:
        """The promoted version of each stage that has one."""
        return {stage: self.get(model_id) for stage, model_id in self.ledger.promoted().items()}

    def promote(self, refs: Sequence[AdapterRef]) -> None:
        """Make these the promoted versions, all or none; raises `StoreError` for one that is not stored."""
        for ref in refs:
            self.get(ref.model_id)
        self.ledger.promote({ref.stage: ref.model_id for ref in refs})

    def _read(self, folder: Path) -> AdapterRef:
        body = _manifest(folder)
        if folder not in self._verified:
            found = file_hashes(folder)
            bad = sorted(name for name in found.keys() | body["files"].keys() if found.get(name) != body["files"].get(name))
            if bad:
                raise StoreError(f"{folder / bad[0]} does not match its manifest; delete {folder} and train that round again")
            self._verified.add(folder)
        return AdapterRef.model_validate(body["ref"] | {"path": str(folder.resolve())})


def version_name(round_number: int, folder: Path) -> str:
    """`r<round>-<first 4 hex digits of the hash of the folder's files>`, the name of a version."""
    listing = json.dumps(file_hashes(folder), sort_keys=True)
    return f"r{round_number}-{hashlib.sha256(listing.encode()).hexdigest()[:4]}"


def file_hashes(folder: Path) -> dict[str, str]:
    """Hex SHA-256 of each file under `folder` by its relative POSIX path, the manifest left out."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.relative_to(folder).as_posix() != MANIFEST)
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in files}


def file_hash(path: Path) -> str:
    """Hex SHA-256 of one file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        body = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder} has no readable manifest: {error}; delete it and train that round again") from error
    if not isinstance(body, dict) or not {"ref", "files"} <= body.keys():
        raise StoreError(f"the manifest of {folder} lacks its fields; delete the folder and train that round again")
    return body
