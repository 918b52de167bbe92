"""An adapter store without a ledger or manifests: versions live in a folder, everything else in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from forge.errors import StoreError
from forge.records import AdapterRef


class MemoryAdapterStore:
    """`forge.seams.AdapterStore` that forgets versions and promotions with the process."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._refs: dict[str, AdapterRef] = {}
        self._hashes: dict[str, str] = {}
        self._promoted: dict[str, AdapterRef] = {}

    def add(self, folder: Path, ref: AdapterRef) -> AdapterRef:
        found = _hash(folder)
        if self._hashes.setdefault(ref.model_id, found) != found:
            raise StoreError(f"{ref.model_id} exists with other weights; a version is never changed: choose another version")
        target = self.place / ref.stage / ref.version
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted(folder.iterdir()):
            file.replace(target / file.name)
        folder.rmdir()
        self._refs[ref.model_id] = ref.model_copy(update={"path": str(target)})
        return self._refs[ref.model_id]

    def list(self, stage: str | None = None) -> list[AdapterRef]:
        refs = [self._checked(ref) for ref in self._refs.values() if stage in (None, ref.stage)]
        return sorted(refs, key=lambda ref: (ref.round, ref.stage, ref.version))

    def promoted(self) -> Mapping[str, AdapterRef]:
        return {stage: self._checked(ref) for stage, ref in self._promoted.items()}

    def promote(self, refs: Sequence[AdapterRef]) -> None:
        unknown = [ref.model_id for ref in refs if ref.model_id not in self._refs]
        if unknown:
            raise StoreError(f"there is no adapter {unknown[0]} in {self.place}")
        self._promoted |= {ref.stage: self._refs[ref.model_id] for ref in refs}

    def _checked(self, ref: AdapterRef) -> AdapterRef:
        if _hash(Path(ref.path)) != self._hashes[ref.model_id]:
            raise StoreError(f"the files of {ref.model_id} in {ref.path} have changed since they were added")
        return ref


def _hash(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if not files:
        raise StoreError(f"{folder} holds no files, so it is no adapter")
    return hashlib.sha256(b"".join(path.name.encode() + hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()
