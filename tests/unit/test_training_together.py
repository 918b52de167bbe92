"""One adapter takes the very batches that several jobs take; needs torch, seconds each."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from transformers import AutoTokenizer

from forge.errors import TrainingError
from forge.seams import TrainJob
from forge.store.parquet import read_examples, write_examples
from forge.training import together
from forge.training.batches import LengthBatches, interleaved, split, taken
from forge.training.progress import TrainProgress
from forge.training.random_base import make_random_base
from forge.training.rates import losses_at
from forge.training.sft import _Trainer
from forge.training.trial import best, beyond
from forge.training.trl import TrlTrainer
from tests.train_jobs import CORPUS, example, make_job


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_random_base(tmp_path_factory.mktemp("model") / "base", corpus=CORPUS, vocabulary=320)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The rows of each batch that the model is given, as ids in text. TRL's trainer is no seam: it is watched from within."""
    found: list[tuple[str, ...]] = []
    compute = _Trainer.compute_loss

    def watched(self: Any, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        rows = zip(inputs["input_ids"].tolist(), inputs["attention_mask"].tolist(), strict=True)
        found.append(tuple(sorted(json.dumps([one for one, here in zip(ids, mask, strict=True) if here]) for ids, mask in rows)))
        return compute(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(_Trainer, "compute_loss", watched)
    return found


def parts_of(base: Path, folder: Path) -> tuple[TrainJob, TrainJob]:
    """Two stages: one that takes some of its rows, one that takes its rows two and a half times in batches of another size."""
    short, long = folder / "short", folder / "long"
    write_examples(folder / "short.parquet", [example(n) for n in range(37)])
    write_examples(folder / "long.parquet", [example(n, length=9) for n in range(100, 118)])
    shared = {"epochs": 5.0, "eval_fraction": 0.0}
    one = make_job(base, folder, rows=str(folder / "short.parquet"), output=str(short), batch_size=8, max_steps=3, **shared)
    other = make_job(base, folder, rows=str(folder / "long.parquet"), output=str(long), batch_size=5, max_steps=10, **shared)
    return one, other


def combined(parts: tuple[TrainJob, ...], folder: Path, **changes: object) -> TrainJob:
    values = {"stage": "combined", "output": str(folder / "combined"), "together": parts, "batch_size": 8, "rank": 12, "alpha": 24}
    return parts[0].model_copy(update=values | changes)


def test_items_of_all_parts_are_spread_evenly_each_in_its_order() -> None:
    found = interleaved([[("a", n) for n in range(30)], [("b", n) for n in range(3)], [("c", n) for n in range(7)]])
    assert Counter(name for name, _ in found) == {"a": 30, "b": 3, "c": 7}
    for name in "abc":
        own = [number for other, number in found if other == name]
        assert own == sorted(own)
    assert [at for at, (name, _) in enumerate(found) if name == "b"] == [6, 19, 33]


def test_a_batch_is_cut_into_parts_none_of_them_empty() -> None:
    assert [list(part) for part in split(range(7), 3)] == [[0, 1], [2, 3, 4], [5, 6]]
    with pytest.raises(ValueError, match="2 items do not make 3 parts"):
        split([1, 2], 3)


def test_batches_go_on_from_pass_to_pass_as_the_sampler_draws_them() -> None:
    found = taken([5, 9, 7, 6], 3, seed=4, steps=3)
    assert [len(batch) for batch in found] == [3, 1, 3]
    assert sorted(found[0] + found[1]) == [0, 1, 2, 3]
    sampler = LengthBatches([5, 9, 7, 6], 3, 4)
    sampler.set_epoch(1)
    assert found[2] == list(sampler)[:3]


def test_one_adapter_sees_exactly_what_the_adapters_saw(base: Path, seen: list[tuple[str, ...]], tmp_path: Path) -> None:
    parts = parts_of(base, tmp_path)
    apart = [TrlTrainer(threads=1).train(part) for part in parts]
    batches = Counter(seen)
    assert len(seen) == 13
    seen.clear()
    result = TrlTrainer(threads=1).train(combined(parts, tmp_path))
    assert Counter(seen) == batches, "the very batches, each as often"
    for key in ("rows", "distinct_rows", "tokens", "answer_tokens", "steps"):
        assert result.metrics[key] == sum(one.metrics[key] for one in apart)
    assert (result.metrics["rows"], result.metrics["steps"]) == (3 * 8 + 2 * (3 * 5 + 3) + 2 * 5, 13.0)
    assert result.examples == 37 + 18
    assert "eval_loss" not in result.metrics


def test_counts_of_an_ordinary_job_are_those_of_what_the_model_was_given(base: Path, seen: list[tuple[str, ...]], tmp_path: Path) -> None:
    _, job = parts_of(base, tmp_path)
    metrics = TrlTrainer(threads=1).train(job).metrics
    rows = [row for batch in seen for row in batch]
    assert (metrics["rows"], metrics["distinct_rows"]) == (len(rows), len(set(rows)))
    assert metrics["tokens"] == sum(len(json.loads(row)) for row in rows)


def test_rows_are_taken_in_the_same_order_however_much_fits_at_once(base: Path, seen: list[tuple[str, ...]], tmp_path: Path) -> None:
    """Half a batch at a time: two parts of each of the same batches."""

    class Halves(TrlTrainer):
        def micro_batch(self, job: TrainJob, longest: int) -> int:
            return job.batch_size // 2

    parts = parts_of(base, tmp_path)
    TrlTrainer(threads=1).train(combined(parts, tmp_path))
    whole = [Counter(batch) for batch in seen]
    seen.clear()
    TrlTrainer(threads=1).train(parts[0])
    alone = [Counter(batch) for batch in seen]
    seen.clear()
    halves = Halves(threads=1).train(combined(parts, tmp_path, output=str(tmp_path / "halves")))
    assert halves.metrics["micro_batch"] == 4.0
    assert [Counter(one) + Counter(two) for one, two in zip(seen[::2], seen[1::2], strict=True)] == whole
    seen.clear()
    Halves(threads=1).train(parts[0].model_copy(update={"output": str(tmp_path / "short-halves")}))
    assert [Counter(one) + Counter(two) for one, two in zip(seen[::2], seen[1::2], strict=True)] == alone


def test_a_batch_that_cannot_be_cut_so_small_is_said(base: Path, tmp_path: Path) -> None:
    class Little(TrlTrainer):
        def micro_batch(self, job: TrainJob, longest: int) -> int:
            return 1

    parts = parts_of(base, tmp_path)
    with pytest.raises(TrainingError, match=r"holds 1/8 of a batch at once, but one batch has 3 rows"):
        Little(threads=1).train(combined(parts, tmp_path))


def test_a_killed_run_over_given_batches_goes_on_to_the_weights_of_an_unbroken_one(base: Path, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill(progress: TrainProgress) -> None:
        if progress.step >= 9:
            raise KilledError

    parts = parts_of(base, tmp_path)
    job = combined(parts, tmp_path)
    with pytest.raises(KilledError):
        TrlTrainer(threads=1, listen=kill).train(job)
    assert not Path(job.output).exists()
    again = TrlTrainer(threads=1).train(job)
    whole = TrlTrainer(threads=1).train(combined(parts, tmp_path, output=str(tmp_path / "whole")))
    assert again.metrics["train_loss"] == pytest.approx(whole.metrics["train_loss"], abs=1e-5)
    assert again.data_sha256 == whole.data_sha256


def test_rates_are_compared_on_rows_held_back_each_stage_counting_alike(base: Path, tmp_path: Path) -> None:
    parts = parts_of(base, tmp_path)
    steps: list[int] = []
    sensible, none = losses_at(combined(parts, tmp_path), [1e-2, 1e-9], lambda step, _: steps.append(step))
    assert sensible < 0.9 * none
    assert steps == list(range(1, 14))
    keys = {together.key_of(row.lineage) for row in read_examples(Path(parts[0].rows))[:4]}
    found = together.parts(combined(parts, tmp_path), AutoTokenizer.from_pretrained(base), keys)
    assert [len(part.heldout) for part in found] == [4, 0]
    assert len(together.joined(combined(parts, tmp_path), found).train) == 33 + 18


def test_a_further_rate_is_tried_only_past_the_end_at_which_the_best_one_lies() -> None:
    assert beyond({1e-3: 0.3, 2e-3: 0.2, 4e-3: 0.25}) is None
    assert beyond({1e-3: 0.3, 2e-3: 0.2, 4e-3: 0.1}) == pytest.approx(8e-3)
    assert beyond({1e-3: 0.1, 2e-3: 0.2, 4e-3: float("nan")}) == pytest.approx(5e-4)
    assert beyond({1e-3: 0.1}) is None
    assert beyond({1e-3: float("nan"), 2e-3: float("inf")}) is None
    assert best({1e-3: float("nan"), 2e-3: 0.4}) == 2e-3
