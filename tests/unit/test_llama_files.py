"""Bases and adapters as GGUF files of a workspace: made once, by what they hold, and refused with the reason."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file

from forge import nano
from forge.config import ForgeConfig
from forge.config.load import load
from forge.endpoint import canary
from forge.errors import ExportError
from forge.export.merged import base_tensors
from forge.fakes import llama_server as fake
from forge.records import AdapterRef
from forge.store.workspace import Workspace
from jobs.launching import doctor
from jobs.serving.canary import tolerance_of
from jobs.serving.llama_files import GgufFiles, gguf_of
from sandboxes import pick


def files(folder: Path, *overrides: str) -> GgufFiles:
    return gguf_of(load([], [f"workspace={folder}", *overrides]))(nano.WEIGHTS)


def adapter(folder: Path, *, hidden: int = 192, seed: int = 0) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    pair = {"A": rng.normal(size=(4, hidden)), "B": rng.normal(size=(192, 4))}
    save_file(
        {f"{module}.lora_{side}.weight": matrix.astype(np.float32) for side, matrix in pair.items()}, folder / "adapter_model.safetensors"
    )
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8}))
    return folder


def test_a_base_is_made_once_and_as_it_is_run_in(tmp_path: Path) -> None:
    made = files(tmp_path).weights()
    assert made.parent == Workspace(tmp_path).gguf and made.name.startswith("base-f32-")
    stamp = made.stat().st_mtime_ns
    assert files(tmp_path).weights() == made and made.stat().st_mtime_ns == stamp
    kinds = {tensor.tensor_type.name for tensor in gguf.GGUFReader(made).tensors}
    assert kinds == {"F32"}
    smaller = files(tmp_path, "serve.gguf_weights=f16").weights()
    assert smaller != made and smaller.stat().st_size < 0.6 * made.stat().st_size
    assert not [name for name in os.listdir(made.parent) if name.startswith(".tmp-")]


def test_the_exact_weights_are_those_of_the_base(tmp_path: Path) -> None:
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(files(tmp_path).weights()).tensors}
    assert np.array_equal(tensors["token_embd.weight"], base_tensors(nano.WEIGHTS).read("model.embed_tokens.weight"))


def test_an_adapter_lies_beside_its_base_under_its_contents(tmp_path: Path) -> None:
    made = files(tmp_path)
    first, other = adapter(tmp_path / "a"), adapter(tmp_path / "b", seed=1)
    again = shutil.copytree(first, tmp_path / "c")
    assert made.adapter(first) == made.adapter(again) != made.adapter(other)
    assert made.adapter(first).parent == made.weights().parent


def test_an_adapter_of_another_base_and_a_broken_one_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    made = files(tmp_path / "w")
    with pytest.raises(ExportError, match="it is of another base"):
        made.adapter(adapter(tmp_path / "wide", hidden=256))
    with pytest.raises(ExportError, match=r"is .* a PEFT adapter"):
        made.adapter(tmp_path / "nowhere")
    assert not list((tmp_path / "w" / "gguf").glob("*.gguf"))


def test_a_workspace_that_only_an_endpoint_has_used_can_be_opened(tmp_path: Path) -> None:
    files(tmp_path).weights()
    with Workspace.open(tmp_path) as opened:
        assert opened.root == tmp_path


def ref(stage: str = "review") -> AdapterRef:
    return AdapterRef(
        stage=stage, version="r1-a", round=1, path="/x", base="nano", base_sha256="0", data_sha256="0", rank=4, examples=1
    )  # fmt: skip


def test_the_canary_is_as_strict_as_the_weights_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.program(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def tolerance(*overrides: str) -> float:
        config: ForgeConfig = load([], ["serve.engine=llama", f"workspace={tmp_path / 'w'}", *overrides])
        return tolerance_of(config, ref())

    assert tolerance() == canary.TOLERANCE_FLOAT32
    assert tolerance("serve.gguf_weights=f16") == 0.05 < tolerance("serve.gguf_weights=q8_0") < tolerance("serve.gguf_weights=q4_k_m")
    assert tolerance("serve.gpus=1") == canary.TOLERANCE_BFLOAT16
    assert tolerance("bases.main.load_in_4bit=true", "serve.gguf_weights=f16") == canary.TOLERANCE_GGUF["q4_k_m"]


def test_doctor_shows_llama_server_and_the_lack_of_one_that_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is installed has no seam: the PATH is set, and this Python's own folder looks like another.
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")

    def engines(*overrides: str) -> list[doctor.Finding]:
        findings = doctor.examine(load([], list(overrides)), lambda: [pick.Finding("confined", True, "")])
        return [finding for finding in findings if finding.subject == "engine"]

    (lack,) = engines("serve.engine=llama")
    assert lack.state == "lack" and "no llama-server here" in lack.found and "docs/decisions/0021-llama.md" in lack.cure
    program = fake.program(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert [(f.state, f.found) for f in engines("serve.engine=llama")][-1] == ("ok", f"llama.cpp: {program}")
