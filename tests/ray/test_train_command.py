"""`forge train`'s job: rows of a folder into stored adapters, in one worker; what cannot be trained on is refused before."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("trl")

import ray
from rich.console import Console

from forge import config as configuration
from forge.config import ForgeConfig
from forge.endpoint.tokens import BaseTokenizer
from forge.errors import ConfigError, EnvironmentLackError, TrainingError
from forge.records import Example, Lineage, Message, Preference
from forge.store.adapters import FolderAdapterStore
from forge.store.ledger import Ledger
from forge.store.parquet import write_records
from forge.training.random_base import make_random_base
from jobs import train
from jobs.training.plan import show_plan


def text_row(stage: str, number: int, answer: str) -> Example:
    message = Message(role="user", content=f"word {number} of {number % 7}")
    return Example(stage=stage, messages=(message,), completion=answer, lineage=Lineage(repo="r", task_id=f"t{number}"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write_records(folder / "examples" / "planning" / "a.parquet", [text_row("planning", n, "of of") for n in range(24)])
    write_records(folder / "examples" / "planning" / "b.parquet", [text_row("planning", n, "of of") for n in range(24, 40)])
    write_records(folder / "examples" / "review" / "a.parquet", [text_row("review", n, ("yes", "no")[n % 2]) for n in range(40)])
    pairs = [
        Preference(stage="planning", messages=row.messages, chosen="of of", rejected="word", lineage=row.lineage)
        for row in (text_row("planning", n, "") for n in range(40))
    ]
    write_records(folder / "preferences" / "planning" / "a.parquet", pairs)
    return folder


def config_of(tmp_path: Path, data: Path, *overrides: str) -> ForgeConfig:
    base = tmp_path / "base"
    if not base.exists():
        make_random_base(base, corpus=[f"word {n} of {n % 7} yes no" for n in range(40)], vocabulary=300)
    own = [f"bases.main.model={base}", f"workspace={tmp_path / 'out'}", f"training.data={data}", "training.threads=1"]
    small = ["training.batch_size=8", "stages.planning.epochs=1", "stages.review.epochs=1"]
    return configuration.load([], [*own, *small, *overrides])


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
    yield
    ray.shutdown()


def test_rows_become_stored_adapters_once_and_preferences_go_on_from_them(
    cluster: None, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train.run(config_of(tmp_path, data))
    assert [(ref.stage, ref.round, ref.metrics["heldout"] + ref.examples) for ref in first] == [("planning", 0, 40.0), ("review", 0, 40.0)]
    assert "planning@r0-" in capsys.readouterr().out
    assert list((tmp_path / "out" / "tensorboard").rglob("events*"))
    assert train.run(config_of(tmp_path, data)) == first, "the same command trains nothing again"

    ledger = Ledger(tmp_path / "out" / "ledger.db")
    store = FolderAdapterStore(tmp_path / "out" / "adapters", ledger)
    assert {ref.model_id for ref in store.list()} == {ref.model_id for ref in first}
    store.promote(first)
    ledger.close()
    config = config_of(tmp_path, data, "training.method=dpo", "training.dpo.learning_rate=1e-2", "stages.planning.max_steps=1")
    (preferred,) = train.run(config)
    assert preferred.stage == "planning" and preferred.metrics["eval_accuracy"] >= 0.5

    (combined,) = train.run(config_of(tmp_path, data, "training.combined=true", "training.only=[planning, review]"))
    assert combined.stage == "combined"
    assert combined.examples + combined.metrics["heldout"] == 80


def test_what_is_not_there_or_teaches_nothing_is_refused_before_anything_starts(tmp_path: Path, data: Path) -> None:
    refused = [
        ("training.data=/nowhere", ConfigError, "/nowhere has no <stage>/"),
        ("training.only=[relevance]", ConfigError, "has no rows for relevance; it has some for planning, review"),
        ("training.only=[planing]", ConfigError, "there is no stage 'planing'; did you mean planning?"),
    ]
    for override, kind, reason in refused:
        with pytest.raises(kind, match=reason):
            train.check(config_of(tmp_path, data, override), local_ray=False)
    write_records(data / "examples" / "review" / "a.parquet", [text_row("review", n, "yes") for n in range(9)])
    with pytest.raises(TrainingError, match="all 9 rows of review are answered 'yes', which teaches no judgement"):
        train.rows_of(config_of(tmp_path, data))
    bases = ["bases.small.model=nano", "stages.review.base=small", "training.combined=true"]
    write_records(data / "examples" / "review" / "a.parquet", [text_row("review", n, ("yes", "no")[n % 2]) for n in range(9)])
    with pytest.raises(ConfigError, match="one adapter over all stages needs one base"):
        train.rows_of(config_of(tmp_path, data, *bases))


def test_an_adapter_over_all_stages_has_the_base_that_they_share(tmp_path: Path, data: Path) -> None:
    small = make_random_base(tmp_path / "small", corpus=["word yes no"], vocabulary=280)
    shared = [f"bases.small.model={small}", "stages.review.base=small", "stages.planning.base=small", "training.combined=true"]
    config = config_of(tmp_path, data, *shared, "bases.small.max_model_tokens=256")
    ((stage, rows),) = train.rows_of(config).items()
    job = train.planned_job(config, stage, rows, small)
    assert (stage, job.max_tokens) == ("combined", 256)
    with Ledger(tmp_path / "ledger.db") as ledger:
        placed = train.job_of(config, tmp_path, FolderAdapterStore(tmp_path / "adapters", ledger), stage, rows)
    assert placed.base == str(small)


def test_texts_with_a_marked_part_are_trained_on_from_there_alone(cluster: None, tmp_path: Path, data: Path) -> None:
    texts = tmp_path / "tagged"
    head, patch = "<NME> a.py\n<BEF> of\n<MSG> word {n}\n<DFF> ", "@@ -1 +1 @@\n-of\n+word {n}\n"
    lines = [(head.format(n=n), patch.format(n=n)) for n in range(24)]
    texts.mkdir()
    rows = [{"text": a + b, "loss": [[len(a), len(a + b)]], "id": f"{n:040}:a.py", "source": "r"} for n, (a, b) in enumerate(lines)]
    (texts / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = config_of(tmp_path, texts, "stages.generation.epochs=2")
    train.check(config, local_ray=False)
    ((stage, found),) = train.rows_of(config).items()
    tokenizer = BaseTokenizer(tmp_path / "base")
    assert stage == "generation"
    for row, (before, learnt) in zip(found, lines, strict=True):
        assert tokenizer.decode((*row.prompt_ids, *row.completion_ids)) == before + learnt
        assert tokenizer.decode(row.completion_ids).strip() == learnt.strip() and row.completion_ids[-1] == tokenizer.end_id
    (ref,) = train.run(config)
    assert ref.stage == "generation" and ref.examples + ref.metrics["heldout"] == 24
    assert ref.metrics["train_loss"] < ref.metrics["first_train_loss"]

    (texts / "train.jsonl").write_text(json.dumps(rows[0] | {"loss": [[0, 4], [9, 12]]}) + "\n")
    with pytest.raises(ConfigError, match=r"line 1 of train\.jsonl marks"):
        train.rows_of(config)
    with pytest.raises(ConfigError, match="from which generation alone learns"):
        train.check(config_of(tmp_path, texts, "training.only=[review]"), local_ray=False)


def test_a_plan_names_each_stage_and_refuses_what_cannot_fit(tmp_path: Path, data: Path) -> None:
    console = Console(record=True, width=100)
    show_plan(config_of(tmp_path, data), console, None)
    told = console.export_text()
    assert "planning" in told and "review" in told and "TRL with PEFT" in told
    with pytest.raises(EnvironmentLackError, match=r"planning takes .* GiB even one sequence at a time"):
        show_plan(config_of(tmp_path, data), console, 2**20)
