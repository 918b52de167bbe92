"""What training is foretold to take, for shapes whose numbers are known."""

import json
from pathlib import Path

import pytest

from forge.errors import BaseModelError
from forge.seams import TrainJob
from forge.training.plan import GIB, Shape, disk_bytes, flops, largest_micro, memory_bytes, shape_of

QWEN3_1_7B = Shape(hidden=2048, layers=28, feed_forward=6144, query=2048, key=1024, vocabulary=151936, tied=True)
QWEN3_0_6B = Shape(hidden=1024, layers=28, feed_forward=3072, query=2048, key=1024, vocabulary=151936, tied=True)


def job(**changes: object) -> TrainJob:
    values = {
        "stage": "generation",
        "base": "b",
        "rows": "r",
        "output": "o",
        "rank": 16,
        "alpha": 32,
        "learning_rate": 2e-4,
        "epochs": 3.0,
        "batch_size": 16,
        "max_tokens": 2048,
        "eval_fraction": 0.1,
        "patience": 2,
        "seed": 0,
        "load_in_4bit": True,
    }
    return TrainJob.model_validate(values | changes)


def test_parameters_are_those_of_the_published_models() -> None:
    assert QWEN3_1_7B.layer_parameters + QWEN3_1_7B.embedding_parameters == pytest.approx(1.72e9, rel=0.005)
    assert QWEN3_0_6B.layer_parameters + QWEN3_0_6B.embedding_parameters == pytest.approx(0.596e9, rel=0.005)
    assert QWEN3_1_7B.adapter_parameters(16) == 17_432_576  # what PEFT counts on all seven linears


@pytest.mark.parametrize(
    ("shape", "micro", "low", "high"),
    [(QWEN3_0_6B, 1, 1.5, 3), (QWEN3_0_6B, 4, 1.8, 6), (QWEN3_1_7B, 1, 2.4, 5), (QWEN3_1_7B, 2, 2.8, 6), (QWEN3_1_7B, 4, 3.5, 9)],
)
def test_memory_of_qlora_lies_where_the_field_reports_it(shape: Shape, micro: int, low: float, high: float) -> None:
    """Reported for 4 bits, gradient checkpointing, 2,048 tokens: 0.6B 2-3 and 4-6 GB, 1.7B 3-5, 4-6 and 6-9 GB at batch 1 (2) 4."""
    assert low < memory_bytes(job(), shape, micro, cuda=True, unsloth=True) / GIB < high


def test_what_takes_more_is_foretold_to_take_more() -> None:
    def needed(micro: int = 2, unsloth: bool = True, **changes: object) -> int:
        return memory_bytes(job(**changes), QWEN3_1_7B, micro, cuda=True, unsloth=unsloth)

    plain = needed()
    assert all(
        more > plain
        for more in (
            needed(4),
            needed(rank=64),
            needed(load_in_4bit=False),
            needed(max_tokens=4096),
            needed(method="dpo"),
            needed(unsloth=False),
        )
    )


def test_the_largest_batch_that_fits_is_found_and_none_is_said() -> None:
    sizes = [largest_micro(job(), QWEN3_1_7B, gib * GIB, cuda=True, unsloth=True) for gib in (1, 4, 8, 24)]
    assert sizes[0] == 0 < sizes[1] < sizes[2] <= sizes[3] == 16
    assert largest_micro(job(batch_size=2), QWEN3_1_7B, 80 * GIB, cuda=True, unsloth=True) == 2


def test_steps_bound_the_work_and_dpo_adds_its_reference() -> None:
    lengths = [100] * 160
    whole = flops(job(), QWEN3_0_6B, lengths, recomputes=True)
    assert flops(job(max_steps=3), QWEN3_0_6B, lengths, recomputes=True) == pytest.approx(whole / 10)
    assert flops(job(method="dpo"), QWEN3_0_6B, lengths, recomputes=True) == pytest.approx(whole * 8 / 6)
    assert disk_bytes(job(), QWEN3_1_7B) == 7 * 4 * 17_432_576


def test_the_shape_is_read_from_a_folder_and_its_lack_is_said(tmp_path: Path) -> None:
    config = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "num_attention_heads": 4, "vocab_size": 9}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert shape_of(tmp_path) == Shape(hidden=64, layers=2, feed_forward=128, query=64, key=64, vocabulary=9, tied=False)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BaseModelError, match=r"does not say the model's shape: 'num_attention_heads'"):
        shape_of(tmp_path)
