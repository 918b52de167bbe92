"""Adapters of two rounds mixed; needs torch, seconds."""

from pathlib import Path

import pytest

pytest.importorskip("trl")

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from forge.errors import TrainingError
from forge.training import artefact, average, logprobs
from forge.training.random_base import make_random_base
from forge.training.trl import TrlTrainer
from tests.train_jobs import CORPUS, make_job


def changes(adapter: Path) -> dict[str, torch.Tensor]:
    """B times A of every linear."""
    weights = load_file(adapter / "adapter_model.safetensors")
    return {name: weights[name.replace("lora_A", "lora_B")] @ weight for name, weight in weights.items() if "lora_A" in name}


def test_a_mixture_is_the_best_of_its_rank_between_the_two_adapters(tmp_path: Path) -> None:
    base = make_random_base(tmp_path / "base", corpus=CORPUS, vocabulary=320)
    trainer = TrlTrainer(threads=1)
    first = make_job(base, tmp_path, seed=1, output=str(tmp_path / "first"))
    alone = make_job(base, tmp_path, output=str(tmp_path / "alone"))
    mixed = alone.model_copy(update={"output": str(tmp_path / "mixed"), "average": first.output, "average_weight": 0.4})
    for job in (first, alone):
        trainer.train(job)
    result = trainer.train(mixed)
    before, own, found = (changes(Path(job.output)) for job in (first, alone, mixed))
    kept = whole = 0.0
    for name, change in found.items():
        u, values, v = torch.linalg.svd(0.4 * before[name] + 0.6 * own[name], full_matrices=False)
        best = (u[:, : mixed.rank] * values[: mixed.rank]) @ v[: mixed.rank]
        assert torch.allclose(change, best, atol=1e-5), name
        kept, whole = kept + float(values[: mixed.rank].square().sum()), whole + float(values.square().sum())
    assert result.metrics["average_kept"] == pytest.approx(kept / whole, abs=1e-5)
    assert 0.5 < result.metrics["average_kept"] < 1.0
    assert result.metrics["own_eval_loss"] == pytest.approx(trainer.train(alone).metrics["eval_loss"], abs=1e-5)
    assert result.metrics["eval_loss"] != result.metrics["own_eval_loss"]

    model = AutoModelForCausalLM.from_pretrained(base)
    model.load_adapter(mixed.output)
    for canary in artefact.read_canaries(Path(mixed.output)):
        ((*told,),) = logprobs.of_completions(model, [(canary.prompt_ids, canary.completion_ids)])
        assert told == pytest.approx(canary.logprobs, abs=1e-4), "what an endpoint is checked with is what is stored"


def test_an_adapter_mixed_with_itself_stays(tmp_path: Path) -> None:
    left, right = torch.randn(12, 3), torch.randn(3, 20)
    a, b, values = average.truncated(torch.cat([0.3 * left, 0.7 * left], dim=1), torch.cat([right, right]), 3)
    assert torch.allclose(b @ a, left @ right, atol=1e-5)
    assert (a.shape, b.shape) == ((3, 20), (12, 3))
    assert float(values[3:].max()) < 1e-5


def test_an_adapter_of_another_rank_or_base_is_not_mixed_in(tmp_path: Path) -> None:
    base = make_random_base(tmp_path / "base", corpus=CORPUS, vocabulary=320)
    trainer = TrlTrainer(threads=1)
    first = make_job(base, tmp_path, max_steps=1, output=str(tmp_path / "first"))
    trainer.train(first)
    with pytest.raises(TrainingError, match="has rank 8 and alpha 16, planning asks for 4 and 16; set both alike, or take none"):
        trainer.train(make_job(base, tmp_path, rank=4, average=first.output, average_weight=0.5))
    with pytest.raises(TrainingError, match="is no adapter of forge's to train planning with"):
        trainer.train(make_job(base, tmp_path, average=str(tmp_path / "nowhere"), average_weight=0.5))
    other = make_random_base(tmp_path / "other", corpus=CORPUS, vocabulary=320, seed=4)
    with pytest.raises(TrainingError, match="belongs to another base"):
        trainer.train(make_job(other, tmp_path, average=first.output, average_weight=0.5))
