"""The workspace, its lock, atomic writes and tree snapshots."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from forge.errors import ConfigError, StoreError
from forge.store import atomic
from forge.store.adapters import MANIFEST, FolderAdapterStore, version_name
from forge.store.ledger import Ledger
from forge.store.trees import TreeStore, tree_hash
from forge.store.workspace import Workspace

HOLD = """
import sys, time
from pathlib import Path
from forge.store.workspace import Workspace
workspace = Workspace.open(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def holder(root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_workspace_is_held_by_one_run_at_a_time(tmp_path: Path) -> None:
    process = holder(tmp_path / "w")
    try:
        with pytest.raises(StoreError, match=f"in use by process {process.pid}"):
            Workspace.open(tmp_path / "w")
    finally:
        process.kill()
        process.wait()


def test_the_lock_of_a_killed_run_is_taken_over(tmp_path: Path) -> None:
    process = holder(tmp_path / "w")
    process.send_signal(signal.SIGKILL)
    process.wait()
    with Workspace.open(tmp_path / "w"):
        assert str(os.getpid()) in (tmp_path / "w" / "lock").read_text()


def test_a_closed_workspace_opens_again_and_survives_a_move(tmp_path: Path) -> None:
    Workspace.open(tmp_path / "w").close()
    (tmp_path / "w").rename(tmp_path / "moved")
    with Workspace.open(tmp_path / "moved") as workspace:
        assert workspace.trajectories(2, "collect-2") == tmp_path / "moved" / "rounds" / "2" / "trajectories" / "collect-2.parquet"


def test_a_strange_folder_and_another_schema_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"notes\.txt"):
        Workspace.open(tmp_path)
    Workspace.open(tmp_path / "w").close()
    (tmp_path / "w" / "workspace.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(StoreError, match="schema 99"):
        Workspace.open(tmp_path / "w")


def test_a_second_run_must_compute_the_same_thing(tmp_path: Path) -> None:
    with Workspace.open(tmp_path / "w") as workspace:
        assert not workspace.bind({"seed": 0, "repos": ("a",), "ray": {"port": 1}})
        assert workspace.bind({"seed": 0, "repos": ("a",), "ray": {"port": 2}})
        assert yaml.safe_load(workspace.config.read_text())["ray"] == {"port": 2}, "the newest values of what may change are kept"
        with pytest.raises(ConfigError, match=r"seed=0, now it is 1.*workspace=PATH"):
            workspace.bind({"seed": 1, "repos": ("a",), "ray": {"port": 1}})


def test_a_key_that_came_later_had_its_default(tmp_path: Path) -> None:
    now = {"seed": 0, "rounds": {"limit": 2, "share": 0.0}}
    with Workspace.open(tmp_path / "w") as workspace:
        workspace.bind({"seed": 0, "rounds": {"limit": 2}})
        with pytest.raises(ConfigError, match=r"rounds\.share=0\.0, now it is 0\.5"):
            workspace.bind({"seed": 0, "rounds": {"limit": 2, "share": 0.5}}, defaults={"seed": 9, "rounds": {"limit": 9, "share": 0.0}})
        assert workspace.bind(now, defaults={"seed": 9, "rounds": {"limit": 9, "share": 0.0}})
        assert yaml.safe_load(workspace.config.read_text()) == now


def test_a_file_that_fails_half_way_is_never_seen(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "file"
    atomic.write_text(target, "old")
    with pytest.raises(RuntimeError, match="killed"), atomic.replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed")
    assert target.read_text() == "old"
    assert [entry.name for entry in target.parent.iterdir()] == ["file"]


def test_moving_a_folder_over_an_existing_one_keeps_the_old(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    atomic.move_folder(tmp_path / "a", tmp_path / "kept")
    atomic.move_folder(tmp_path / "b", tmp_path / "kept")
    assert (tmp_path / "kept" / "file").read_text() == "a"
    assert not (tmp_path / "b").exists()


NAMES = st.text(alphabet="abcé.", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))


@given(st.dictionaries(NAMES, st.binary(max_size=20), max_size=4))
def test_trees_read_back_what_was_put(files: dict[str, bytes]) -> None:
    import tempfile

    nested = {f"pkg/{name}": content for name, content in files.items()} | {"top.py": b"x = 1\n"}
    with tempfile.TemporaryDirectory() as folder:
        store = TreeStore(Path(folder))
        digest = store.put(nested)
        assert store.put(dict(reversed(nested.items()))) == digest == tree_hash(nested)
        assert store.files(digest) == nested
        unpacked = store.folder(digest)
        assert {path.relative_to(unpacked).as_posix(): path.read_bytes() for path in unpacked.rglob("*") if path.is_file()} == nested
        assert store.folder(digest) == unpacked
        for inner in [unpacked, *(path for path in unpacked.rglob("*") if path.is_dir())]:
            assert inner.stat().st_mode & 0o222 == 0
            inner.chmod(0o755)


def test_different_trees_have_different_hashes() -> None:
    trees: list[dict[str, bytes]] = [{}, {"a": b""}, {"a": b"b"}, {"ab": b""}, {"a": b"", "b": b""}]
    assert len({tree_hash(tree) for tree in trees}) == len(trees)


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../up", "", ".", "a//b", "./a"])
def test_a_path_that_leaves_the_tree_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a plain path"):
        TreeStore(tmp_path).put({path: b""})


def test_a_half_unpacked_tree_is_not_taken_for_the_tree(tmp_path: Path) -> None:
    store = TreeStore(tmp_path)
    digest = store.put({"a.py": b"1", "b.py": b"2"})
    (tmp_path / f"{atomic.TEMPORARY}left-by-a-kill").mkdir()
    assert sorted(path.name for path in store.folder(digest).iterdir()) == ["a.py", "b.py"]


def test_a_damaged_or_missing_tree_is_reported(tmp_path: Path) -> None:
    store = TreeStore(tmp_path)
    digest = store.put({"a.py": b"1"})
    other = store.put({"a.py": b"2"})
    store.archive(digest).write_bytes(store.archive(other).read_bytes())
    with pytest.raises(StoreError, match="does not match its hash"):
        store.folder(digest)
    with pytest.raises(StoreError, match="cannot be read"):
        store.folder("0" * 64)


def test_a_manifest_carries_the_lineage(tmp_path: Path) -> None:
    from forge.records import AdapterRef

    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"w")
    name = version_name(1, folder)
    assert name.startswith("r1-")
    assert len(name) == 7
    store = FolderAdapterStore(tmp_path / "adapters", Ledger(tmp_path / "ledger.db"))
    ref = AdapterRef(stage="review", version=name, round=1, path="", base="nano", base_sha256="b", data_sha256="d", rank=4, examples=7)
    added = store.add(folder, ref, config={"rank": 4})
    manifest = json.loads(Path(added.path, MANIFEST).read_text())
    assert manifest["config"] == {"rank": 4}
    assert manifest["ref"]["base_sha256"] == "b"
    assert list(manifest["files"]) == ["adapter_model.safetensors"]
    assert store.get(f"review@{name}") == added
