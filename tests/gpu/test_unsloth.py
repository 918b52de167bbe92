"""The Unsloth backend on a card, with a random base of Qwen3's shape: no download."""

import importlib
from pathlib import Path

import pytest

from forge.records import Example, Lineage, Message
from forge.seams import TrainJob
from forge.store.parquet import write_examples
from forge.training.pick import make_trainer


@pytest.fixture(autouse=True)
def card() -> None:
    if not pytest.importorskip("torch").cuda.is_available():
        pytest.skip("no CUDA device")
    pytest.importorskip("unsloth", reason="the package 'unsloth' is not installed (GPU requirements)")


@pytest.mark.parametrize("load_in_4bit", [False, True])
def test_two_stages_train_one_after_another_and_their_losses_fall(tmp_path: Path, load_in_4bit: bool) -> None:
    make_random_base = importlib.import_module("forge.training.random_base").make_random_base  # after unsloth: it loads transformers
    texts = [f"word {number} of {number % 7}" for number in range(64)]
    make_random_base(tmp_path / "base", corpus=texts, hidden=256, feed_forward=512, vocabulary=320)
    lineages = [Lineage(repo="r", task_id=f"t{number}") for number in range(64)]
    rows = [
        Example(stage="planning", messages=(Message(role="user", content=text),), completion="of of", lineage=lineage)
        for text, lineage in zip(texts, lineages, strict=True)
    ]
    write_examples(tmp_path / "rows.parquet", rows)
    trainer = make_trainer("unsloth")
    for stage in ("planning", "review"):
        job = TrainJob(
            stage=stage,
            base=str(tmp_path / "base"),
            rows=str(tmp_path / "rows.parquet"),
            output=str(tmp_path / stage),
            rank=16,
            alpha=32,
            learning_rate=2e-3,
            epochs=4.0,
            batch_size=16,
            max_tokens=256,
            eval_fraction=0.1,
            patience=4,
            seed=0,
            load_in_4bit=load_in_4bit,
        )
        result = trainer.train(job)
        assert result.metrics["eval_loss"] < result.metrics["first_train_loss"]
        assert (tmp_path / stage / "adapter_model.safetensors").exists()
