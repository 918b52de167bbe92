"""Adapters side by side do what each would do alone; needs torch, seconds each."""

from pathlib import Path

import pytest

pytest.importorskip("trl")

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from forge.config import SweepConfig
from forge.errors import TrainingError
from forge.training import packed, rows, run
from forge.training.packed import Schedule, Setting, train_side_by_side
from forge.training.random_base import make_random_base
from forge.training.sweep import sweep
from tests.train_jobs import CORPUS, example, make_job


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)  # so small a model is slower with two


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_random_base(tmp_path_factory.mktemp("model") / "base", corpus=CORPUS, vocabulary=320)


@pytest.fixture
def model(base: Path) -> torch.nn.Module:
    loaded: torch.nn.Module = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return loaded.requires_grad_(False)


@pytest.fixture
def data(base: Path) -> rows.RowSet:
    tokenizer = AutoTokenizer.from_pretrained(base)
    return rows.encode_all([example(n) for n in range(64)], None, tokenizer, max_tokens=128, eval_fraction=0.2)


def test_each_adapter_learns_as_it_would_alone(model: torch.nn.Module, data: rows.RowSet) -> None:
    settings = [Setting(8, 16, 1e-2), Setting(4, 4, 1e-3), Setting(16, 64, 5e-3)]
    schedule = Schedule(steps=12, batch_size=8, seed=3)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    torch.manual_seed(0)
    together = train_side_by_side(model, data, settings, schedule)
    # The first of several is initialised as the only one is: it takes the first random numbers of each linear it stands in.
    alone = train_side_by_side(model, data, settings[:1], schedule)
    assert together[0] == pytest.approx(alone[0], abs=0.05)
    assert len(set(together)) == 3
    assert dict(model.named_parameters()).keys() == before.keys()
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_forward_and_gradients_are_those_of_peft(base: Path, model: torch.nn.Module, data: rows.RowSet) -> None:
    """Two adapters side by side against PEFT's one after another, with the same weights in both."""
    settings = [Setting(8, 16, 1e-2), Setting(4, 4, 1e-2)]
    batch = data.train[:5]

    def fill(weight: torch.Tensor, seed: int) -> None:
        torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(seed))

    def gradients_of_peft(at: int, one: Setting) -> tuple[float, list[torch.Tensor]]:
        bare = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        adapted = get_peft_model(
            bare, LoraConfig(r=one.rank, lora_alpha=one.alpha, target_modules=list(run.LINEARS), task_type="CAUSAL_LM")
        )
        downs = [weight for name, weight in adapted.named_parameters() if "lora_A" in name]
        ups = [weight for name, weight in adapted.named_parameters() if "lora_B" in name]
        for number, (down, up) in enumerate(zip(downs, ups, strict=True)):
            fill(down.data, 100 * at + number)
            fill(up.data, 1000 + 100 * at + number)
        (loss,) = packed._losses(adapted.get_base_model(), batch, 1)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item(), [weight.grad for pair in zip(downs, ups, strict=True) for weight in pair if weight.grad is not None]

    with packed._packed(model, settings, Schedule(steps=1, batch_size=5, seed=0)) as groups:
        for at, group in enumerate(groups):
            for number in range(0, len(group), 2):
                fill(group[number].data, 100 * at + number // 2)
                fill(group[number + 1].data, 1000 + 100 * at + number // 2)
        losses = packed._losses(model, batch, 2)
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        found = [(loss.item(), [weight.grad for weight in group]) for loss, group in zip(losses, groups, strict=True)]
    for at, (one, (loss, gradients)) in enumerate(zip(settings, found, strict=True)):
        wanted_loss, wanted = gradients_of_peft(at, one)
        assert loss == pytest.approx(wanted_loss, abs=1e-5)
        assert len(wanted) == len(gradients) == 28
        assert all(own is not None and torch.allclose(own, other, atol=1e-5) for own, other in zip(gradients, wanted, strict=True))


def test_a_sweep_finds_the_rate_that_learns_and_goes_on_where_it_ended(base: Path, tmp_path: Path) -> None:
    config = SweepConfig(trials=6, at_once=3, ranks=[4, 8], learning_rates=(1e-6, 2e-2))
    told: list[int] = []
    job = make_job(base, tmp_path)
    first = sweep(job, config.model_copy(update={"trials": 3}), tmp_path / "study.db", lambda done, *_: told.append(done))
    assert len(first) == 3 and set(told) == {0}
    told.clear()
    found = sweep(job, config, tmp_path / "study.db", lambda done, *_: told.append(done))
    assert len(found) == 6 and set(told) == {3}, "three of six were there"
    assert [trial.loss for trial in found] == sorted(trial.loss for trial in found)
    rates = sorted(found, key=lambda trial: trial.learning_rate)
    assert found[0].loss < rates[0].loss and found[0].learning_rate > rates[0].learning_rate
    assert sweep(job, config, tmp_path / "study.db") == found


def test_settings_that_all_explode_are_said(base: Path, tmp_path: Path) -> None:
    config = SweepConfig(trials=2, at_once=2, ranks=[4], learning_rates=(1e30, 1e31))
    with pytest.raises(TrainingError, match="no setting that was tried for planning came to a loss"):
        sweep(make_job(base, tmp_path), config, tmp_path / "study.db")
