"""Whole training runs on a random base of 100,000 weights, on CPU; needs torch, seconds each."""

import json
from pathlib import Path

import pytest

pytest.importorskip("trl")

import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM, AutoTokenizer

from forge.errors import BaseModelError, TrainingError
from forge.store.parquet import write_examples
from forge.training import artefact, logprobs, rows, run
from forge.training.progress import TrainProgress
from forge.training.random_base import make_random_base
from forge.training.tail import AnswerTail
from forge.training.trl import TrlTrainer
from tests.train_jobs import CORPUS, WORDS, example, make_job


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_random_base(tmp_path_factory.mktemp("model") / "base", corpus=CORPUS, vocabulary=320)


@pytest.fixture(scope="module")
def trainer() -> TrlTrainer:
    return TrlTrainer(threads=1)


def test_steps_can_be_limited_whatever_the_epochs(base: Path, trainer: TrlTrainer, tmp_path: Path) -> None:
    result = trainer.train(make_job(base, tmp_path, max_steps=3))
    assert result.metrics["steps"] == 3.0


def test_training_lowers_both_losses_and_leaves_a_plain_lora_and_an_untouched_base(base: Path, trainer: TrlTrainer, tmp_path: Path) -> None:
    before = (base / "model.safetensors").read_bytes()
    job = make_job(base, tmp_path)
    result = trainer.train(job)
    assert result.metrics["train_loss"] < 0.95 * result.metrics["first_train_loss"]
    assert result.metrics["eval_loss"] < 0.98 * result.metrics["first_eval_loss"]
    assert result.examples + result.metrics["heldout"] == 72
    assert result.truncated == 0
    assert result.metrics["tokens_per_s"] > 0

    folder = Path(result.output)
    assert {"adapter_config.json", "adapter_model.safetensors", "result.json", "canary.json"} <= {path.name for path in folder.iterdir()}
    config = json.loads((folder / "adapter_config.json").read_text())
    assert set(config["target_modules"]) == set(run.LINEARS)
    assert (config["r"], config["lora_alpha"], config["lora_dropout"], config["bias"]) == (8, 16, 0.0, "none")
    assert not config["use_dora"] and not config["modules_to_save"] and not config.get("trainable_token_indices")
    assert config["base_model_name_or_path"] == str(base)
    weights = load_file(folder / "adapter_model.safetensors")
    assert len(weights) == 2 * 7 * 2  # layers, linears, A and B
    assert all(tensor.abs().sum() > 0 for tensor in weights.values())

    assert (base / "model.safetensors").read_bytes() == before
    assert not artefact.work_folder(job).exists()
    assert {path.name for path in tmp_path.iterdir()} == {"rows.parquet", "adapter"}


def test_the_next_job_starts_from_the_bare_base_again(base: Path, trainer: TrlTrainer, tmp_path: Path) -> None:
    first = trainer.train(make_job(base, tmp_path, epochs=1.0))
    again = trainer.train(make_job(base, tmp_path, epochs=1.0, output=str(tmp_path / "again")))
    model = trainer.load(base, make_job(base, tmp_path))[0]
    fresh = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    assert {name: tensor.sum().item() for name, tensor in model.state_dict().items()} == {
        name: tensor.sum().item() for name, tensor in fresh.state_dict().items()
    }
    one, two = (load_file(Path(result.output) / "adapter_model.safetensors") for result in (first, again))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_short_last_layer_gives_the_loss_and_the_gradients_of_the_whole_one(base: Path, trainer: TrlTrainer, tmp_path: Path) -> None:
    job = make_job(base, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = [rows.encode(example(number, length=12), tokenizer, rows.end_token_id(tokenizer)) for number in range(7)]
    longest = max(len(row.ids) for row in encoded)
    ids = torch.tensor([[*row.ids, *[0] * (longest - len(row.ids))] for row in encoded])
    labels = torch.tensor([[*row.labels, *[rows.IGNORED] * (longest - len(row.labels))] for row in encoded])

    def loss_and_gradients(short: bool) -> tuple[float, list[torch.Tensor]]:
        model = trainer.attach(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), job)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(len(name)))
        tail = AnswerTail(model.get_base_model())
        if short:
            tail.install()
            tail.select(labels)
        loss = model(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels, use_cache=False).loss
        loss.backward()
        return loss.item(), [weight.grad for weight in model.parameters() if weight.requires_grad]

    (whole, whole_gradients), (short, short_gradients) = loss_and_gradients(False), loss_and_gradients(True)
    assert short == pytest.approx(whole, abs=1e-5)
    assert all(torch.allclose(one, two, atol=1e-5) for one, two in zip(short_gradients, whole_gradients, strict=True))


def test_the_best_checkpoint_is_saved_and_training_stops_when_held_out_loss_rises(base: Path, trainer: TrlTrainer, tmp_path: Path) -> None:
    noise = [example(n).model_copy(update={"completion": WORDS[n * 7 % 10]}) for n in range(1000, 1032)]
    write_examples(tmp_path / "noise.parquet", noise)
    job = make_job(base, tmp_path, epochs=30.0, patience=2, eval_rows=str(tmp_path / "noise.parquet"), learning_rate=3e-2)
    result = trainer.train(job)
    assert result.metrics["epochs"] < 30
    assert result.metrics["eval_loss"] < result.metrics["last_eval_loss"]
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = [rows.encode(row, tokenizer, rows.end_token_id(tokenizer)) for row in noise]
    pairs = [(row.ids[: row.answer_start], row.ids[row.answer_start :]) for row in encoded]
    values = logprobs.of_adapter(str(base), Path(result.output), pairs)
    by_length = sorted(zip(encoded, values, strict=True), key=lambda pair: len(pair[0].ids))
    means = [[value for _, row in by_length[start : start + 16] for value in row] for start in (0, 16)]
    assert -sum(sum(part) / len(part) for part in means) / 2 == pytest.approx(result.metrics["eval_loss"], abs=1e-3)


def test_without_held_back_rows_all_teach_and_the_last_weights_stay(base: Path, trainer: TrlTrainer, tmp_path: Path) -> None:
    result = trainer.train(make_job(base, tmp_path, eval_fraction=0.0, epochs=2.0))
    assert (result.examples, result.metrics["heldout"], result.metrics["steps"]) == (72, 0.0, 10.0)
    assert "eval_loss" not in result.metrics
    assert result.metrics["train_loss"] < result.metrics["first_train_loss"]


def test_a_killed_run_goes_on_from_its_checkpoint_to_the_weights_of_an_unbroken_one(base: Path, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    seen: list[TrainProgress] = []

    def kill_in_the_third_epoch(progress: TrainProgress) -> None:
        if progress.step >= 11:
            raise KilledError
        seen.append(progress)

    unbroken = TrlTrainer(threads=1).train(make_job(base, tmp_path, output=str(tmp_path / "unbroken")))
    job = make_job(base, tmp_path)
    with pytest.raises(KilledError):
        TrlTrainer(threads=1, listen=kill_in_the_third_epoch).train(job)
    assert not Path(job.output).exists()
    torn = artefact.work_folder(job) / "checkpoint-999"
    torn.mkdir()
    (torn / "adapter_model.safetensors").write_text("torn")

    seen.clear()
    resumed = TrlTrainer(threads=1, listen=seen.append).train(job)
    assert seen[0].step == 10, "it goes on after the second of five steps an epoch, not from the start"
    one, two = (load_file(Path(result.output) / "adapter_model.safetensors") for result in (unbroken, resumed))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-6
    assert resumed.metrics["eval_loss"] == pytest.approx(unbroken.metrics["eval_loss"], abs=1e-6)


def test_out_of_memory_halves_what_is_computed_at_once_and_keeps_the_batch(base: Path, tmp_path: Path) -> None:
    told: list[TrainProgress] = []

    def too_much(progress: TrainProgress) -> None:
        told.append(progress)
        if progress.step == 3 and not any(past.note for past in told):
            raise torch.OutOfMemoryError("CUDA out of memory")

    whole = TrlTrainer(threads=1).train(make_job(base, tmp_path, epochs=1.0, output=str(tmp_path / "whole")))
    job = make_job(base, tmp_path, epochs=1.0)
    result = TrlTrainer(threads=1, listen=too_much).train(job)
    assert [past.note for past in told if past.note] == ["out of memory: goes on with 8 rows at a time, accumulated to the same batch"]
    assert (whole.metrics["micro_batch"], result.metrics["micro_batch"]) == (16.0, 8.0)
    assert result.metrics["steps"] == whole.metrics["steps"]


def test_what_does_not_fit_one_row_at_a_time_is_refused(base: Path, tmp_path: Path) -> None:
    def never_fits(progress: TrainProgress) -> None:
        if not progress.note:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(TrainingError, match="planning does not fit into this card's memory even one row at a time"):
        TrlTrainer(threads=1, listen=never_fits).train(make_job(base, tmp_path))
    assert not (tmp_path / "adapter").exists()


def test_a_full_disk_is_said_and_leaves_nothing_half_written(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    job = make_job(base, tmp_path, epochs=1.0)
    # A small file system needs root; this is what torch raises on a full one.
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(TrainingError, match=r"cannot keep a checkpoint of planning in .*; free space and run it again"):
            TrlTrainer(threads=1).train(job)
    assert not Path(job.output).exists()
    assert TrlTrainer(threads=1).train(job).metrics["steps"] == 5


def test_an_adapter_can_start_from_another_of_its_base_alone(base: Path, trainer: TrlTrainer, tmp_path: Path) -> None:
    first = trainer.train(make_job(base, tmp_path))
    job = make_job(base, tmp_path, start=first.output, output=str(tmp_path / "second"), max_steps=1, learning_rate=1e-9)
    second = trainer.train(job)
    one, two = (load_file(Path(result.output) / "adapter_model.safetensors") for result in (first, second))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-6
    other = make_random_base(tmp_path / "other", corpus=WORDS, vocabulary=320, seed=5)
    for changes, reason in (
        ({"rank": 4, "alpha": 8}, "has rank 8 and alpha 16, planning asks for 4 and 8"),
        ({"base": str(other)}, "belongs to another base"),
        ({"start": str(tmp_path / "nowhere")}, "is no adapter of forge's"),
    ):
        with pytest.raises(TrainingError, match=reason):
            trainer.train(job.model_copy(update={**changes, "output": str(tmp_path / "third")}))


def test_losses_are_written_for_tensorboard(base: Path, trainer: TrlTrainer, tmp_path: Path) -> None:
    trainer.train(make_job(base, tmp_path, epochs=1.0, logs=str(tmp_path / "logs")))
    reader = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert {"train/loss", "eval/loss"} <= set(reader.Tags()["scalars"])


def test_a_finished_job_is_not_trained_again_and_another_job_in_its_place_is(base: Path, tmp_path: Path) -> None:
    steps: list[TrainProgress] = []
    trainer = TrlTrainer(threads=1, listen=steps.append)
    first = trainer.train(make_job(base, tmp_path, epochs=1.0))
    assert steps
    steps.clear()
    assert trainer.train(make_job(base, tmp_path, epochs=1.0)) == first
    assert not steps
    assert trainer.train(make_job(base, tmp_path, epochs=1.0, seed=1)) != first
    assert steps


def test_rows_that_do_not_fit_are_counted_in_the_result(base: Path, trainer: TrlTrainer, tmp_path: Path) -> None:
    write_examples(tmp_path / "rows.parquet", [example(n) for n in range(40)] + [example(n, length=60) for n in range(40, 60)])
    result = trainer.train(make_job(base, tmp_path, epochs=1.0, max_tokens=60))
    assert 5 < result.truncated < 20
    assert result.examples + result.metrics["heldout"] + result.truncated == 60


def test_the_canary_holds_the_log_probabilities_that_the_saved_adapter_gives(base: Path, trainer: TrlTrainer, tmp_path: Path) -> None:
    result = trainer.train(make_job(base, tmp_path, rslora=True))
    canaries = artefact.read_canaries(Path(result.output))
    pairs = [(canary.prompt_ids, canary.completion_ids) for canary in canaries]
    adapted, bare = logprobs.of_adapter(str(base), Path(result.output), pairs), logprobs.of_adapter(str(base), None, pairs)
    assert len(canaries) == run.CANARIES
    for canary, with_adapter, without in zip(canaries, adapted, bare, strict=True):
        assert canary.logprobs == pytest.approx(with_adapter, abs=1e-4)
        assert sum(with_adapter) > sum(without), "training made its own answers likelier"


def test_a_loss_that_is_not_a_number_ends_the_run_with_its_name_and_leaves_nothing_behind(base: Path, tmp_path: Path) -> None:
    job = make_job(base, tmp_path, learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"loss of planning became (nan|inf)"):
        TrlTrainer(threads=1).train(job)
    assert not Path(job.output).exists()


def test_a_base_that_changes_under_the_run_is_noticed(tmp_path: Path) -> None:
    base = make_random_base(tmp_path / "base", corpus=WORDS, vocabulary=300)

    def touch(progress: TrainProgress) -> None:
        if progress.step == 0:
            weights = base / "model.safetensors"
            changed = weights.with_suffix(".new")  # not in place: the loaded base is mapped from the old file
            changed.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
            changed.replace(weights)

    with pytest.raises(TrainingError, match="changed while planning trained"):
        TrlTrainer(threads=1, listen=touch).train(make_job(base, tmp_path, epochs=1.0))
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize("lacking", ["tokenizer.json", "tokenizer*"])
def test_a_base_without_its_tokenizer_is_refused_in_a_sentence(lacking: str, tmp_path: Path) -> None:
    base = make_random_base(tmp_path / "base", corpus=CORPUS, vocabulary=320)
    for file in base.glob(lacking):
        file.unlink()
    with pytest.raises(BaseModelError, match=rf"{base} has no tokenizer.json or other vocabulary"):
        TrlTrainer(threads=1).train(make_job(base, tmp_path))
    assert not (tmp_path / "adapter").exists()
