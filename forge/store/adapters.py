"""The adapter store: `adapters/<stage>/<version>/` with a manifest that carries the whole lineage.

A manifest holds the `AdapterRef` (base and its hash, data hash, rank, metrics), the hash of every file, the
configuration it was trained with, the version of forge and the hash of its sources, and the adapters that were
promoted when it was made: those of the round that its rows come from. Files are checked against it before a version
is handed out. Which versions are promoted stands in the ledger and changes for all stages at once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import forge
from forge.errors import StoreError
from forge.records import AdapterRef, Record
from forge.store import atomic
from forge.store.ledger import Ledger

MANIFEST = "manifest.json"
MERGED_MARK, MERGED_KEY = "merged.json", "merged_adapters"
"""A file and a key that mark weights as an export in which adapters were merged into the base: never to train from."""
LOCK = ".lock"
"""Held while versions are added or removed, so that one does not undo the other."""


class Manifest(Record):
    """What is known of a version. `files` are hex SHA-256 by relative path; `config` is the run's, as JSON."""

    ref: AdapterRef
    files: dict[str, str]
    config: dict[str, Any] = {}
    forge: str = ""
    code_sha256: str = ""
    """Hash of forge's own sources; empty in manifests of forge 0.1 and before."""
    parents: dict[str, str] = {}
    """Model ids by stage that were promoted when this version was made: what collected its rows."""

    @property
    def parent_round(self) -> int | None:
        """The round before, whose adapters collected this version's rows; `None` for the first."""
        return self.ref.round - 1 if self.ref.round > 1 else None


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
        with atomic.locked(self.root / LOCK):
            if not target.exists():
                body = Manifest(
                    ref=ref.model_copy(update={"path": ""}),
                    files=files,
                    config=dict(config or {}),
                    forge=forge.__version__,
                    code_sha256=code_hash(),
                    parents=self.ledger.promoted(),
                )
                atomic.write_text(folder / MANIFEST, json.dumps(body.model_dump(mode="json"), indent=1, sort_keys=True))
            elif _manifest(target).files != files:
                raise StoreError(f"{ref.model_id} exists with other weights; a version is never changed: choose another version")
            atomic.move_folder(folder, target)
        return self._read(target)

    def list(self, stage: str | None = None) -> list[AdapterRef]:
        """All versions, oldest round first, each checked against its hashes."""
        folders = [path.parent for path in self.root.glob(f"{stage or '*'}/*/{MANIFEST}") if _finished(path)]
        return sorted((self._read(folder) for folder in folders), key=lambda ref: (ref.round, ref.stage, ref.version))

    def get(self, model_id: str) -> AdapterRef:
        """One version by its `stage@version`; raises `StoreError` when it is not there."""
        return self._read(self._folder(model_id))

    def manifest(self, model_id: str) -> Manifest:
        """What is known of a version. Its files are not checked; raises `StoreError` when it is not there."""
        return _manifest(self._folder(model_id))

    def model_ids(self) -> Sequence[str]:
        """Every stored `stage@version` by name, without a look at the files."""
        return sorted(f"{path.parent.parent.name}@{path.parent.name}" for path in self.root.glob(f"*/*/{MANIFEST}") if _finished(path))

    def size(self, model_id: str) -> int:
        """Bytes of a version's files."""
        return sum(path.stat().st_size for path in self._folder(model_id).rglob("*") if path.is_file())

    def remove(self, model_id: str) -> int:
        """Bytes freed by removing a version, which is gone at once or not at all."""
        folder, freed = self._folder(model_id), self.size(model_id)
        with atomic.locked(self.root / LOCK):
            away = folder.with_name(f"{atomic.TEMPORARY}removed-{folder.name}")
            shutil.rmtree(away, ignore_errors=True)
            folder.rename(away)
            shutil.rmtree(away)
        self._verified.discard(folder)
        return freed

    def sweep(self) -> int:
        """Number of unfinished folders removed, which adding or removing leaves when it is killed."""
        with atomic.locked(self.root / LOCK):
            left = list(self.root.glob(f"*/{atomic.TEMPORARY}*"))
            for folder in left:
                shutil.rmtree(folder)
        return len(left)

    def promoted(self) -> Mapping[str, AdapterRef]:
        """The promoted version of each stage that has one."""
        return {stage: self.get(model_id) for stage, model_id in self.ledger.promoted().items()}

    def promote(self, refs: Sequence[AdapterRef]) -> None:
        """Make these the promoted versions, all or none; raises `StoreError` for one that is not stored."""
        for ref in refs:
            self.get(ref.model_id)
        self.ledger.promote({ref.stage: ref.model_id for ref in refs})

    def _folder(self, model_id: str) -> Path:
        stage, _, version = model_id.partition("@")
        folder = self.root / stage / version
        if not version or not (folder / MANIFEST).exists():
            known = ", ".join(self.model_ids()) or "none"
            raise StoreError(f"there is no adapter {model_id} in {self.root}; there are: {known}")
        return folder

    def _read(self, folder: Path) -> AdapterRef:
        manifest = _manifest(folder)
        if folder not in self._verified:
            found = file_hashes(folder)
            bad = sorted(name for name in found.keys() | manifest.files.keys() if found.get(name) != manifest.files.get(name))
            if bad:
                raise StoreError(f"{folder / bad[0]} does not match its manifest; delete {folder} and train that round again")
            self._verified.add(folder)
        return manifest.ref.model_copy(update={"path": str(folder.resolve())})


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


@cache
def code_hash() -> str:
    """Hex SHA-256 over forge's own sources, which tells an edited checkout from the release of the same number."""
    package = Path(forge.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}:{file_hash(path)};".encode())
    return digest.hexdigest()


def _finished(manifest: Path) -> bool:
    return not manifest.parent.name.startswith(atomic.TEMPORARY)


def _manifest(folder: Path) -> Manifest:
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(f"{folder} has no readable manifest: {error}; delete it and train that round again") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its text"
        raise StoreError(
            f"the manifest of {folder} is damaged ({where}: {first['msg']}); delete the folder and train that round again"
        ) from error
