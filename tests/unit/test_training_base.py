"""What is accepted as a base, how it is hashed, which backend a machine gets, which checkpoint is gone on from; no torch."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from forge.errors import TrainingError
from forge.store.adapters import MERGED_MARK
from forge.training import artefact, base, pick


def make_base(folder: Path, tensor: str = "model.layers.0.mlp.up_proj.weight") -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    save_file({tensor: np.zeros((2, 2), np.float32)}, folder / "model.safetensors")
    return folder


def test_a_folder_with_config_and_weights_is_a_base(tmp_path: Path) -> None:
    assert base.locate(str(make_base(tmp_path / "base"))) == tmp_path / "base"


def test_an_adapter_is_refused_as_base(tmp_path: Path) -> None:
    folder = make_base(tmp_path / "adapter")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(TrainingError, match="is an adapter, not a base"):
        base.locate(str(folder))


@pytest.mark.parametrize(
    ("name", "content"),
    [(MERGED_MARK, ""), ("manifest.json", {"merged": True}), ("config.json", {"merged_adapters": ["a@r1"]})],
)
def test_a_merged_export_is_refused_as_base(tmp_path: Path, name: str, content: object) -> None:
    folder = make_base(tmp_path / "export")
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(TrainingError, match="is a merged export, not a base"):
        base.locate(str(folder))


def test_weights_with_lora_tensors_among_them_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds LoRA weights"):
        base.locate(str(make_base(tmp_path / "mixed", "model.layers.0.mlp.up_proj.lora_A.weight")))


def test_folders_without_config_or_weights_are_no_base(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no config\.json"):
        base.refuse_unless_base(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(TrainingError, match=r"no tokenizer\.json"):
        base.refuse_unless_base(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TrainingError, match=r"no \*\.safetensors"):
        base.refuse_unless_base(tmp_path)


def test_the_hash_of_a_base_of_one_file_is_the_hash_of_that_file_and_follows_its_content(tmp_path: Path) -> None:
    folder = make_base(tmp_path / "base")
    weights = folder / "model.safetensors"
    before = base.weights_sha256(folder)
    assert before == hashlib.sha256(weights.read_bytes()).hexdigest()
    save_file({"w": np.ones((2, 2), np.float32)}, weights)
    os.utime(weights, ns=(1, 1))
    assert base.weights_sha256(folder) == hashlib.sha256(weights.read_bytes()).hexdigest() != before


@pytest.mark.parametrize(
    ("asked", "cuda", "unsloth", "chosen"),
    [
        ("auto", True, True, "unsloth"),
        ("auto", True, False, "trl"),
        ("auto", False, True, "trl"),
        ("trl", True, True, "trl"),
        ("unsloth", True, True, "unsloth"),
    ],
)
def test_the_backend_follows_the_machine(asked: pick.Backend, cuda: bool, unsloth: bool, chosen: str) -> None:
    assert pick.choose(asked, cuda=cuda, unsloth=unsloth) == chosen


@pytest.mark.parametrize(("cuda", "unsloth", "lacking"), [(False, True, "a CUDA device"), (True, False, "the package 'unsloth'")])
def test_unsloth_asked_for_where_it_cannot_run_says_what_is_lacking(cuda: bool, unsloth: bool, lacking: str) -> None:
    with pytest.raises(TrainingError, match=lacking):
        pick.choose("unsloth", cuda=cuda, unsloth=unsloth)


def make_checkpoint(work: Path, step: int, state: str = "{}", lacking: str = "") -> Path:
    folder = work / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for name in artefact.CHECKPOINT_FILES:
        if name != lacking:
            (folder / name).write_text(state if name == "trainer_state.json" else "x")
    artefact.seal(folder)
    return folder


@pytest.mark.parametrize("lacking", artefact.CHECKPOINT_FILES)
def test_training_goes_on_from_the_newest_complete_checkpoint(tmp_path: Path, lacking: str) -> None:
    complete = make_checkpoint(tmp_path, 9)
    make_checkpoint(tmp_path, 10, lacking=lacking)
    assert artefact.last_complete_checkpoint(tmp_path) == complete
    assert not (tmp_path / "checkpoint-10").exists()


def test_a_checkpoint_without_a_seal_or_changed_after_it_is_not_gone_on_from(tmp_path: Path) -> None:
    (make_checkpoint(tmp_path, 1) / artefact.SEAL).unlink()
    (make_checkpoint(tmp_path, 2) / "optimizer.pt").write_text("y")
    assert artefact.last_complete_checkpoint(tmp_path) is None


@pytest.mark.parametrize("state", ['{"global_step": 1', '{"best_model_checkpoint": "/nowhere/checkpoint-5"}'])
def test_a_checkpoint_with_a_torn_state_or_a_lost_best_one_is_not_gone_on_from(tmp_path: Path, state: str) -> None:
    make_checkpoint(tmp_path, 5, state=state)
    assert artefact.last_complete_checkpoint(tmp_path) is None


def test_a_folder_that_no_training_wrote_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(TrainingError, match="is no result of training"):
        artefact.refuse_foreign(tmp_path)
