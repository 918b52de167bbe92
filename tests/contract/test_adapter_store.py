"""What every adapter store must do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from forge.errors import StoreError
from forge.fakes.store import MemoryAdapterStore
from forge.records import AdapterRef
from forge.seams import AdapterStore
from forge.store.adapters import FolderAdapterStore
from forge.store.ledger import Ledger

Open = Callable[[Path], AdapterStore]


def folder_store(root: Path) -> AdapterStore:
    return FolderAdapterStore(root / "adapters", Ledger(root / "ledger.db"))


def memory_store(root: Path) -> AdapterStore:
    return MemoryAdapterStore(root / "adapters")


@pytest.fixture(params=[folder_store, memory_store])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> AdapterStore:
    opened: AdapterStore = request.param(tmp_path)
    return opened


def ref(stage: str, version: str, round_number: int = 0) -> AdapterRef:
    return AdapterRef(
        stage=stage, version=version, round=round_number, path="", base="nano", base_sha256="b", data_sha256="d", rank=4, examples=7
    )


def weights(tmp_path: Path, content: bytes = b"weights") -> Path:
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(content)
    (folder / "adapter_config.json").write_text("{}")
    return folder


def test_an_added_version_is_moved_in_and_listed(store: AdapterStore, tmp_path: Path) -> None:
    folder = weights(tmp_path)
    added = store.add(folder, ref("review", "r0-1"))
    assert not folder.exists()
    assert Path(added.path, "adapter_model.safetensors").read_bytes() == b"weights"
    assert store.list() == [added] == store.list("review")
    assert store.list("planning") == []


def test_versions_are_listed_oldest_first(store: AdapterStore, tmp_path: Path) -> None:
    for number in (2, 0, 1):
        store.add(weights(tmp_path), ref("review", f"r{number}-x", number))
    assert [item.round for item in store.list("review")] == [0, 1, 2]


def test_adding_the_same_version_again_is_harmless_and_other_weights_are_refused(store: AdapterStore, tmp_path: Path) -> None:
    first = store.add(weights(tmp_path), ref("review", "r0-1"))
    assert store.add(weights(tmp_path), ref("review", "r0-1")) == first
    with pytest.raises(StoreError, match="other weights"):
        store.add(weights(tmp_path, b"different"), ref("review", "r0-1"))
    assert Path(first.path, "adapter_model.safetensors").read_bytes() == b"weights"


def test_promotion_replaces_only_the_stages_named(store: AdapterStore, tmp_path: Path) -> None:
    assert dict(store.promoted()) == {}
    review = store.add(weights(tmp_path), ref("review", "r0-1"))
    planning = store.add(weights(tmp_path), ref("planning", "r0-2"))
    newer = store.add(weights(tmp_path, b"newer"), ref("review", "r1-1", 1))
    store.promote([review, planning])
    store.promote([newer])
    assert dict(store.promoted()) == {"review": newer, "planning": planning}


def test_promoting_an_unknown_version_changes_nothing(store: AdapterStore, tmp_path: Path) -> None:
    known = store.add(weights(tmp_path), ref("review", "r0-1"))
    with pytest.raises(StoreError, match="no adapter planning@r9"):
        store.promote([known, ref("planning", "r9")])
    assert dict(store.promoted()) == {}


def test_an_empty_folder_is_no_adapter(store: AdapterStore, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="no files"):
        store.add(tmp_path / "empty", ref("review", "r0-1"))


@pytest.mark.parametrize("opened", [folder_store, memory_store])
def test_changed_weights_are_noticed_on_reading(opened: Open, tmp_path: Path) -> None:
    store = opened(tmp_path)
    added = store.add(weights(tmp_path), ref("review", "r0-1"))
    Path(added.path, "adapter_model.safetensors").write_bytes(b"tampered")
    reader = opened(tmp_path) if isinstance(store, FolderAdapterStore) else store
    with pytest.raises(StoreError, match=r"manifest|have changed"):
        reader.list()
