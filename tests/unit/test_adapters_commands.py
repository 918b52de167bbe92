"""`forge adapters` and `forge export` as a person types them, what is wrong included: one sentence, exit code, nothing left behind."""

from __future__ import annotations

import json
import resource
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from forge import nano
from forge.export import quantise
from forge.store.adapters import FolderAdapterStore
from forge.store.ledger import Ledger
from forge.store.workspace import Workspace
from forge.training.base import weights_sha256
from jobs import cli
from tests.small_models import adapter_ref, make_adapter, make_base


class Run:
    """A workspace with three versions of two stages, as a run leaves it."""

    def __init__(self, root: Path) -> None:
        self.root, self.base, self.workspace = root, root / "base", root / "workspace"
        self.ids: list[str] = []

    def make(self) -> Run:
        make_base(self.base)
        Workspace.open(self.workspace).close()
        with Ledger(Workspace(self.workspace).ledger) as ledger:
            store = FolderAdapterStore(Workspace(self.workspace).adapters, ledger)
            config = {"bases": {"main": {"model": str(self.base), "revision": None, "max_model_tokens": 128}}, "seed": 0}
            for seed, (stage, number, rank) in enumerate((("generation", 1, 8), ("review", 1, 4), ("review", 2, 6))):
                folder = make_adapter(self.root / f"trained-{seed}", self.base, seed=seed, rank=rank)
                ref = adapter_ref(stage, folder, self.base, rank=rank, number=number)
                added = store.add(folder, ref, config=config | {"seed": seed})
                self.ids.append(added.model_id)
                if seed < 2:
                    store.promote([added])
        return self

    def __call__(self, *words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main([*words, "-w", str(self.workspace)])
        captured = capsys.readouterr()
        assert code == 0 or captured.err.count("\n") == 1 or "formats are" in captured.err, captured.err
        return code, captured.out, captured.err

    def promoted(self) -> dict[str, str]:
        with Ledger(Workspace(self.workspace).ledger) as ledger:
            return ledger.promoted()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("run")).make()


@pytest.fixture
def run(template: Run, tmp_path: Path) -> Run:
    """A copy that a test may change; the base is shared."""
    copy = Run(tmp_path)
    copy.base, copy.ids = template.base, template.ids
    shutil.copytree(template.workspace, copy.workspace)
    return copy


# forge adapters


def test_versions_are_listed_and_shown(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("adapters", "list", capsys=capsys)
    assert code == 0
    lines = [line for line in out.splitlines() if "@" in line]
    assert [any(name in line for line in lines) for name in run.ids] == [True] * 3
    assert sum("promoted" in line for line in lines) == 2
    code, out, _ = run("adapters", "show", "review", capsys=capsys)
    assert code == 0
    for told in (
        f"{run.ids[1]} (promoted)",
        weights_sha256(run.base),
        "eval_loss 1.25",
        run.ids[0],
        "config   bases.main.max_model_tokens=128",
    ):
        assert told in out


def test_two_versions_are_compared(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("adapters", "diff", "review", run.ids[2], capsys=capsys)
    assert code == 0
    rows = dict(line.split(maxsplit=1) for line in out.splitlines() if line)
    assert rows["rank"] == "4 → 6"
    assert rows["round"] == "1 → 2"
    assert "config seed" in out
    assert "metric" not in out
    assert rows["weights"].startswith("differ by 1")
    assert "differ by 0.0%" in run("adapters", "diff", "review", "review", capsys=capsys)[1]


def test_a_version_is_promoted_and_taken_back(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = run.promoted()
    assert run("adapters", "promote", run.ids[2], capsys=capsys)[0] == 0
    assert run.promoted() == {"generation": run.ids[0], "review": run.ids[2]}
    assert run("adapters", "rollback", capsys=capsys)[0] == 0
    assert run.promoted() == before
    assert run("adapters", "rollback", "--stage", "review", capsys=capsys)[0] == 0
    assert run.promoted() == {"generation": run.ids[0]}
    assert run("adapters", "rollback", "--to", "2", capsys=capsys)[0] == 0
    assert run.promoted() == before
    _, out, _ = run("adapters", "history", capsys=capsys)
    assert [line.split()[0] for line in out.splitlines()] == ["1", "2", "3", "4", "5", "6"]


def test_what_nothing_needs_is_cleared_away(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert "would remove" not in run("adapters", "gc", "--dry-run", capsys=capsys)[1]
    _, out, _ = run("adapters", "gc", "--keep", "0", "--dry-run", capsys=capsys)
    assert f"would remove {run.ids[2]}" in out
    assert "1 of 3 versions" in out
    assert run("adapters", "gc", "--keep", "0", capsys=capsys)[1].splitlines()[-1].startswith("1 of 3 versions")
    _, out, _ = run("adapters", "list", capsys=capsys)
    assert run.ids[2] not in out
    assert run.ids[1] in out


def test_a_workspace_in_use_is_read_and_not_changed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with Workspace.open(run.workspace):
        assert run("adapters", "list", capsys=capsys)[0] == 0
        for words in (["promote", run.ids[2]], ["rollback"], ["gc"]):
            code, _, err = run("adapters", *words, capsys=capsys)
            assert (code, "is in use by" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["show", "planning"], "no adapters of a stage planning; stages that have some: generation, review"),
        (["show", "review@r9-beef"], "no version review@r9-beef; there are: generation@"),
        (["promote", "review@r9-beef"], "no version review@r9-beef"),
        (["rollback", "--to", "9"], "no promotion 9; there are: 1, 2"),
        (["rollback", "--stage", "planning"], "nothing was promoted for planning"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(words: list[str], reason: str, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("adapters", *words, capsys=capsys)
    assert code != 0
    assert reason in err


def test_two_versions_of_one_stage_cannot_be_promoted(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert "two versions of one stage" in run("adapters", "promote", *run.ids[1:], capsys=capsys)[2]
    assert run.promoted()["review"] == run.ids[1]


def test_a_folder_that_is_no_workspace_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["list"], ["gc"]):
        assert cli.main(["adapters", *words, "-w", str(tmp_path / "nothing")]) == 2
        assert "holds no run of forge" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_version_is_marked_in_the_list_and_refused_elsewhere(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    damage(run, run.ids[2])
    code, out, _ = run("adapters", "list", capsys=capsys)
    assert (code, out.count("damaged")) == (0, 1)
    for words in (["adapters", "show"], ["adapters", "promote"], ["export", "--to", "peft", "--out", str(run.root / "out")]):
        code, _, err = run(*words, run.ids[2], capsys=capsys)
        assert (code, "does not match its manifest" in err) == (1, True)
    assert not (run.root / "out").exists()


def damage(run: Run, model_id: str) -> None:
    file = run.workspace / "adapters" / model_id.replace("@", "/") / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


# forge export


def test_promoted_adapters_are_exported_from_their_own_base(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("export", "all", "--to", "llama-server", "--out", str(run.root / "out"), capsys=capsys)
    assert code == 0
    assert {path.name for path in (run.root / "out").iterdir()} == {
        *("base.gguf", "generation.adapter.gguf", "review.adapter.gguf"),
        *("serve.sh", "README.md", "export.json"),
    }
    assert "base.gguf" in out
    assert "-c 128" in (run.root / "out" / "serve.sh").read_text()


def test_an_adapter_of_the_nano_base_is_exported_where_its_tokenizer_can_go(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    add_nano(run)
    assert run("export", "planning@r1-nano", "--to", "merged", "--out", str(run.root / "merged"), capsys=capsys)[0] == 0
    merged = load_file(run.root / "merged" / "planning" / "model.safetensors")
    assert {weight.dtype for weight in merged.values()} == {np.dtype(np.float32)}
    code, _, err = run("export", "planning@r1-nano", "--to", "gguf", "--out", str(run.root / "gguf"), capsys=capsys)
    assert code == 2
    assert "llama.cpp cannot represent this base's tokenizer" in err


def add_nano(run: Run) -> None:
    folder = run.root / "nano-adapter"
    folder.mkdir()
    prefix = "base_model.model.model.layers.0.mlp.up_proj.lora_"
    save_file({f"{prefix}A.weight": np.ones((2, 192), np.float32), f"{prefix}B.weight": np.ones((512, 2), np.float32)}, folder / WEIGHTS)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 4, "r": 2}))
    ref = adapter_ref("planning", folder, nano.WEIGHTS, rank=2).model_copy(update={"base": "nano", "version": "r1-nano"})
    with Ledger(Workspace(run.workspace).ledger) as ledger:
        FolderAdapterStore(Workspace(run.workspace).adapters, ledger).add(folder, ref)


WEIGHTS = "adapter_model.safetensors"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["planning", "--to", "gguf"], "no adapters of a stage planning; stages that have some: generation, review"),
        (["review@r9", "--to", "gguf"], "no version review@r9; there are: generation@"),
        (["review", "--to", "zip"], "there is no format zip; the formats are"),
        (["review", "--to", "gguf", "--quantise", "q2"], "no quantisation q2; there are f16, q8_0, q4_k_m"),
        (["review", "--to", "vllm", "--quantise", "q8_0"], "--quantise has nothing to do"),
        (["review", "--to", "gguf", "--base", "/nowhere"], "'/nowhere' is not on this machine; name its folder with --base"),
        (["review", "--to", "gguf", "--base", "some-one/some-base"], "'some-one/some-base' is not on this machine"),
        (["review", "--to", "gguf", "--base", str(nano.WEIGHTS)], "was trained from"),
    ],
)
def test_a_wrong_request_is_one_sentence_and_writes_nothing(
    words: list[str], reason: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(run.root.iterdir())
    code, _, err = run("export", *words, "--out", str(run.root / "out"), capsys=capsys)
    assert code == 2
    assert reason in err
    assert sorted(run.root.iterdir()) == before


def test_two_versions_of_one_stage_are_not_exported_together(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("export", *run.ids[1:], "--to", "peft", "--out", str(run.root / "out"), capsys=capsys)
    assert (code, "two versions of one stage" in err) == (2, True)


def test_adapters_of_different_bases_have_a_folder_each(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    add_nano(run)
    out = run.root / "out"
    code, _, _ = run("export", "review", "planning@r1-nano", "--to", "peft", "--out", str(out), capsys=capsys)
    assert code == 0
    assert sorted(str(file.parent.relative_to(out)) for file in out.rglob(WEIGHTS)) == [
        f"base-{weights_sha256(run.base)[:6]}/review",
        f"nano-{weights_sha256(nano.WEIGHTS)[:6]}/planning",
    ]
    code, _, err = run("export", "review", "planning@r1-nano", "--to", "peft", "--out", str(out), capsys=capsys)
    assert (code, "exists; an export writes a new folder" in err) == (2, True)
    shutil.rmtree(out)
    code, _, err = run("export", "review", "planning@r1-nano", "--to", "gguf", "--out", str(out), capsys=capsys)
    assert (code, out.exists()) == (2, False), "the nano base has no GGUF, and then none of the others is left"


def test_a_base_that_is_gone_or_has_changed_is_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    other = run.root / "other"
    shutil.copytree(run.base, other)
    weights = load_file(other / "model.safetensors")
    save_file(weights | {"model.norm.weight": weights["model.norm.weight"] + 1}, other / "model.safetensors", {"format": "pt"})
    code, _, err = run("export", "review", "--to", "gguf", "--base", str(other), "--out", str(run.root / "out"), capsys=capsys)
    assert (code, weights_sha256(other)[:16] in err, weights_sha256(run.base)[:16] in err) == (2, True, True)
    (other / "model.safetensors").unlink()
    code, _, err = run("export", "review", "--to", "gguf", "--base", str(other), "--out", str(run.root / "out"), capsys=capsys)
    assert (code, "has no *.safetensors" in err) == (2, True)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_at_the_place_to_write_stays(kind: str, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    out = run.root / "out"
    if kind == "folder":
        (out / "kept").mkdir(parents=True)
    else:
        out.write_text("kept")
    code, _, err = run("export", "review", "--to", "peft", "--out", str(out), capsys=capsys)
    assert (code, "exists; an export writes a new folder" in err) == (2, True)
    assert (out / "kept").is_dir() if kind == "folder" else out.read_text() == "kept"


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """No file of this process may grow past `limit` bytes: the kernel then refuses to write, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limit", [40_000, 64_000])
@pytest.mark.parametrize("form", ["peft", "merged", "gguf", "gguf-adapter", "ollama", "llama-server", "vllm"])
def test_a_full_disk_leaves_nothing_behind(form: str, limit: int, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(run.root.iterdir())
    # The ledger's shared memory alone takes 32 KiB, every weight file more than 60.
    with small_files(limit):
        code, _, err = run("export", "review", "--to", form, "--out", str(run.root / "out"), capsys=capsys)
    assert code == 2
    assert "cannot write" in err
    assert "nothing was left there" in err
    assert sorted(run.root.iterdir()) == before


def test_a_place_that_cannot_be_written_is_one_sentence(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (run.root / "file").write_text("")
    code, _, err = run("export", "review", "--to", "peft", "--out", str(run.root / "file" / "out"), capsys=capsys)
    assert (code, "cannot write" in err) == (2, True)


# Quantising


def tool(folder: Path, script: str) -> None:
    file = folder / quantise.PROGRAM
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def test_q4_k_m_without_a_quantiser_says_where_to_get_one(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Whether a package is installed has no seam; this machine may have it.
    monkeypatch.setattr(quantise, "PACKAGE", "no_such_package")
    monkeypatch.setenv("PATH", str(run.root))
    words = ["export", "review", "--to", "gguf", "--quantise", "q4_k_m", "--out", str(run.root / "out")]
    code, _, err = run(*words, capsys=capsys)
    assert (code, "put llama-quantize on the PATH, or pip install llama-cpp-python" in err) == (2, True)
    assert not (run.root / "out").exists()


def test_q4_k_m_is_made_by_the_program_on_the_path(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    tool(run.root, 'test "$3" = Q4_K_M && printf small >"$2"')
    monkeypatch.setenv("PATH", f"{run.root}:/usr/bin:/bin")
    words = ["export", "review", "--to", "ollama", "--quantise", "q4_k_m", "--out", str(run.root / "out")]
    assert run(*words, capsys=capsys)[0] == 0
    assert (run.root / "out" / "review.gguf").read_text() == "small"
    assert not (run.root / "out" / "review.f16").exists()


def test_a_quantiser_that_fails_is_quoted(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    tool(run.root, 'echo "No space left" >&2; exit 1')
    monkeypatch.setenv("PATH", f"{run.root}:/usr/bin:/bin")
    words = ["export", "review", "--to", "gguf", "--quantise", "q4_k_m", "--out", str(run.root / "out")]
    code, _, err = run(*words, capsys=capsys)
    assert (code, "cannot quantise review.f16: No space left" in err) == (2, True)
    assert not (run.root / "out").exists()


# What no export can carry


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"use_dora": True}, "has DoRA (use_dora)"),
        ({"modules_to_save": ["lm_head"]}, "has whole modules of its own"),
        ({"bias": "all"}, "bias or PiSSA"),
        ({"init_lora_weights": "pissa_niter_4"}, "bias or PiSSA"),
        ({"peft_type": "IA3"}, "describes no LoRA adapter"),
    ],
)
def test_an_adapter_that_is_more_than_lora_is_refused(
    change: dict[str, Any], reason: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    add_changed(run, change, {})
    code, _, err = run("export", "review@r9-new", "--to", "gguf", "--out", str(run.root / "out"), capsys=capsys)
    assert (code, reason in err) == (2, True), err


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"base_model.model.model.embed_tokens.lora_embedding_A": (4, 8)}, "only lora_A and lora_B of linear layers"),
        ({"base_model.model.lm_head.lora_A.weight": (4, 64)}, "only one of the two matrices of lm_head"),
        (
            {"base_model.model.lm_head.lora_A.weight": (4, 64), "base_model.model.lm_head.lora_B.weight": (8, 4)},
            "changes lm_head.weight, which the base does not have",
        ),
    ],
)
def test_tensors_that_have_no_place_are_refused(
    tensors: dict[str, tuple[int, int]], reason: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    add_changed(run, {}, {name: np.ones(shape, np.float32) for name, shape in tensors.items()})
    code, _, err = run("export", "review@r9-new", "--to", "merged", "--out", str(run.root / "out"), capsys=capsys)
    assert (code, reason in err) == (2, True), err


def add_changed(run: Run, settings: dict[str, Any], tensors: dict[str, Any]) -> None:
    """A version of review like the first, with other settings and more tensors."""
    folder = run.root / "changed"
    shutil.copytree(run.workspace / "adapters" / run.ids[1].replace("@", "/"), folder)
    (folder / "manifest.json").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | settings))
    save_file(load_file(folder / WEIGHTS) | tensors, folder / WEIGHTS)
    ref = adapter_ref("review", folder, run.base, rank=4).model_copy(update={"version": "r9-new"})
    with Ledger(Workspace(run.workspace).ledger) as ledger:
        FolderAdapterStore(Workspace(run.workspace).adapters, ledger).add(folder, ref)
