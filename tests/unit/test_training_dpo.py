"""Whole DPO runs on a random base of 100,000 weights, on CPU; needs torch, seconds each."""

from pathlib import Path

import pytest

pytest.importorskip("trl")

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from forge.errors import TrainingError
from forge.records import Example
from forge.seams import TrainJob
from forge.store.parquet import write_examples
from forge.training import logprobs, pairs, rows
from forge.training.progress import TrainProgress
from forge.training.random_base import make_random_base
from forge.training.trl import TrlTrainer
from tests import train_jobs
from tests.train_jobs import CORPUS, preference


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_random_base(tmp_path_factory.mktemp("model") / "base", corpus=CORPUS, vocabulary=320)


def make_job(base: Path, folder: Path, **changes: object) -> TrainJob:
    return train_jobs.make_job(base, folder, **({"method": "dpo"} | changes))


def test_dpo_prefers_the_better_answers_of_prompts_it_never_saw(base: Path, tmp_path: Path) -> None:
    before = (base / "model.safetensors").read_bytes()
    result = TrlTrainer(threads=1).train(make_job(base, tmp_path))
    metrics = result.metrics
    assert metrics["eval_loss"] < 0.6 < metrics["first_train_loss"] == pytest.approx(0.69, abs=0.03)
    assert metrics["eval_accuracy"] >= 0.75
    assert metrics["eval_margin"] > 0
    assert (base / "model.safetensors").read_bytes() == before
    weights = load_file(Path(result.output) / "adapter_model.safetensors")
    assert len(weights) == 2 * 7 * 2  # layers, linears, A and B: no trace of the reference
    assert {path.name for path in Path(result.output).iterdir() if path.is_dir()} == set()


def test_the_supervised_loss_beside_it_makes_the_better_answer_likelier_than_preferring_alone(base: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = [pairs.encode(preference(number), tokenizer, rows.end_token_id(tokenizer)) for number in range(20)]
    asked = [(pair.prompt_ids, pair.chosen_ids) for pair in encoded]

    def likelihood(sft_weight: float) -> float:
        output = str(tmp_path / f"weight-{sft_weight}")
        result = TrlTrainer(threads=1).train(make_job(base, tmp_path, sft_weight=sft_weight, output=output, max_steps=12))
        return sum(map(sum, logprobs.of_adapter(str(base), Path(result.output), asked)))

    assert likelihood(1.0) > likelihood(0.0) + 1.0


def test_the_reference_is_the_base_whatever_the_adapter_starts_from(base: Path, tmp_path: Path) -> None:
    """With a start that prefers already, the very first margins are those of the start over the base."""
    trainer = TrlTrainer(threads=1)
    taught = [
        Example(stage="generation", messages=row.messages, completion=row.chosen, lineage=row.lineage)
        for row in map(preference, range(120))
    ]
    write_examples(tmp_path / "rows.parquet", taught)
    start = trainer.train(make_job(base, tmp_path, method="sft", rows=str(tmp_path / "rows.parquet"), output=str(tmp_path / "start")))
    result = trainer.train(make_job(base, tmp_path, start=start.output, learning_rate=1e-9, max_steps=1))

    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = [pairs.encode(preference(number), tokenizer, rows.end_token_id(tokenizer)) for number in range(120)]
    held_back = rows.heldout_keys([preference(number).lineage for number in range(120)], 0.15)
    chosen = [pair for number, pair in enumerate(encoded) if f"r:t{number}" in held_back]
    asked = [(pair.prompt_ids, ids) for pair in chosen for ids in (pair.chosen_ids, pair.rejected_ids)]
    with_start, bare = logprobs.of_adapter(str(base), Path(start.output), asked), logprobs.of_adapter(str(base), None, asked)
    gained = [sum(one) - sum(other) for one, other in zip(with_start, bare, strict=True)]
    margins = [0.1 * (better - worse) for better, worse in zip(gained[::2], gained[1::2], strict=True)]
    by_length = [margin for margin, _ in sorted(zip(margins, chosen, strict=True), key=lambda both: len(both[1]))]
    parts = [by_length[at : at + 16] for at in range(0, len(by_length), 16)]
    assert result.metrics["eval_margin"] == pytest.approx(sum(sum(part) / len(part) for part in parts) / len(parts), abs=1e-3)


def test_a_killed_run_goes_on_to_the_weights_of_an_unbroken_one(base: Path, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill(progress: TrainProgress) -> None:
        if progress.step >= 10:
            raise KilledError

    unbroken = TrlTrainer(threads=1).train(make_job(base, tmp_path, epochs=2.0, output=str(tmp_path / "unbroken")))
    job = make_job(base, tmp_path, epochs=2.0)
    with pytest.raises(KilledError):
        TrlTrainer(threads=1, listen=kill).train(job)
    seen: list[TrainProgress] = []
    resumed = TrlTrainer(threads=1, listen=seen.append).train(job)
    assert seen[0].step == 7
    one, two = (load_file(Path(result.output) / "adapter_model.safetensors") for result in (unbroken, resumed))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-6


def test_pairs_are_trained_on_the_very_ids_that_were_sampled(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    end = rows.end_token_id(tokenizer)
    sampled = preference(1).model_copy(update={"prompt_ids": (5, 6), "chosen_ids": (7, end), "rejected_ids": (8, 9, end)})
    assert pairs.encode(sampled, tokenizer, end) == pairs.EncodedPair((5, 6), (7, end), (8, 9, end))
    cut = sampled.model_copy(update={"rejected_ids": (8, 9)})
    data = pairs.encode_all([sampled, cut], [], tokenizer, max_tokens=9, eval_fraction=0.0)
    assert (len(data.train), data.truncated, data.lengths()) == (1, 1, [9])


def test_pairs_that_prefer_nothing_are_refused(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    same = preference(1).model_copy(update={"rejected": preference(1).chosen})
    with pytest.raises(TrainingError, match="a pair of generation from r:t1 has no prompt, no answer or two equal ones"):
        pairs.encode_all([same], [], tokenizer, max_tokens=99, eval_fraction=0.0)
    with pytest.raises(TrainingError, match="no pair is left to train on: 1 are longer than 4 tokens"):
        pairs.encode_all([preference(1)], [], tokenizer, max_tokens=4, eval_fraction=0.0)


def test_a_batch_of_pairs_is_accumulated_like_any_other(base: Path, tmp_path: Path) -> None:
    told: list[TrainProgress] = []

    def too_much(progress: TrainProgress) -> None:
        told.append(progress)
        if progress.step == 2 and not any(past.note for past in told):
            raise torch.OutOfMemoryError("CUDA out of memory")

    result = TrlTrainer(threads=1, listen=too_much).train(make_job(base, tmp_path, epochs=1.0))
    assert result.metrics["micro_batch"] == 8.0
