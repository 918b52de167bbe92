"""The Unsloth backend without a card: a fake package that records arguments; tests/unsloth has the real one.

`unsloth` is put into `sys.modules` because there is no seam to pass it through: being imported first is what it is about.
"""

import ast
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from forge.records import Example, Lineage, Message
from forge.seams import TrainJob
from forge.store.parquet import write_examples
from forge.training.random_base import make_random_base
from forge.training.trl import TrlTrainer


class FakeFastLanguageModel:
    """Records what it is called with, and does with PEFT what Unsloth does with its kernels."""

    calls: list[tuple[str, dict[str, Any]]]

    @classmethod
    def from_pretrained(cls, **arguments: Any) -> tuple[Any, Any]:
        cls.calls.append(("from_pretrained", arguments))
        folder = arguments["model_name"]
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(folder)

    @classmethod
    def get_peft_model(cls, model: Any, **arguments: Any) -> Any:
        cls.calls.append(("get_peft_model", arguments))
        names = ("r", "lora_alpha", "lora_dropout", "bias", "target_modules", "use_rslora")
        return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **{name: arguments[name] for name in names}))


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    fake = types.ModuleType("unsloth")
    FakeFastLanguageModel.calls = []
    vars(fake).update(FastLanguageModel=FakeFastLanguageModel, is_bfloat16_supported=lambda: True)
    monkeypatch.setitem(sys.modules, "unsloth", fake)
    monkeypatch.delitem(sys.modules, "forge.training.unsloth", raising=False)
    yield importlib.import_module("forge.training.unsloth")
    sys.modules.pop("forge.training.unsloth", None)


def make_job(folder: Path, **changes: object) -> TrainJob:
    values = {
        "stage": "generation",
        "base": str(folder / "base"),
        "rows": str(folder / "rows.parquet"),
        "output": str(folder / "adapter"),
        "rank": 8,
        "alpha": 16,
        "learning_rate": 1e-3,
        "epochs": 1.0,
        "batch_size": 16,
        "max_tokens": 128,
        "eval_fraction": 0.1,
        "patience": 2,
        "seed": 5,
    }
    return TrainJob.model_validate(values | changes)


def test_a_job_goes_through_unsloth_with_its_own_numbers_and_leaves_a_plain_adapter(backend: Any, tmp_path: Path) -> None:
    make_random_base(tmp_path / "base", corpus=["one two three"], vocabulary=300)
    row = Example(stage="generation", messages=(Message(role="user", content="one"),), completion="two", lineage=Lineage(repo="r"))
    lineages = [Lineage(repo="r", task_id=f"t{number}") for number in range(20)]
    write_examples(tmp_path / "rows.parquet", [row.model_copy(update={"lineage": lineage}) for lineage in lineages])
    trainer = backend.UnslothTrainer()
    trainer.settings = TrlTrainer().settings  # what needs the card itself: precision, the 8-bit optimizer, free memory
    trainer.micro_batch = TrlTrainer().micro_batch
    result = trainer.train(make_job(tmp_path, rslora=True, load_in_4bit=True))
    (load, loaded), (attach, attached) = FakeFastLanguageModel.calls
    assert (load, attach) == ("from_pretrained", "get_peft_model")
    assert loaded == {
        "model_name": str(tmp_path / "base"),
        "max_seq_length": 128,
        "dtype": None,
        "load_in_4bit": True,
        "use_gradient_checkpointing": "unsloth",
    }
    linears = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    assert attached == {
        "r": 8,
        "target_modules": linears,
        "lora_alpha": 16,
        "lora_dropout": 0,
        "bias": "none",
        "use_gradient_checkpointing": "unsloth",
        "random_state": 5,
        "use_rslora": True,
    }
    assert (Path(result.output) / "adapter_model.safetensors").exists()


def test_a_batch_is_accumulated_from_micro_batches_that_fit_the_card(backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = backend.UnslothTrainer()
    make_random_base(tmp_path / "base", corpus=["one two three"], vocabulary=300)
    free = [0, 2**30, 80 * 2**30]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free[0], 80 * 2**30))  # no card here
    found = []
    while free:
        found.append([trainer.micro_batch(make_job(tmp_path, batch_size=size), 128) for size in (1, 2, 16)])
        free.pop(0)
    assert found[0] == [1, 1, 1] and found[-1] == [1, 2, 16]
    settings = trainer.settings(make_job(tmp_path))
    assert (settings["bf16"], settings["fp16"]) == (True, False)
    assert settings["optim"] == "adamw_8bit"
    assert trainer.sft_settings == {"loss_type": "nll", "padding_free": True}, "TRL's chunked loss would bypass Unsloth's fused one"


def test_unsloth_is_the_first_import_of_its_module() -> None:
    source = (Path(__file__).parents[2] / "forge" / "training" / "unsloth.py").read_text()
    imports = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    roots = [node.module.split(".")[0] if isinstance(node, ast.ImportFrom) and node.module else node.names[0].name for node in imports]
    heavy = [root for root in roots if root not in ("__future__", "gc", "pathlib", "typing")]
    assert heavy[0] == "unsloth"
