"""Exports read back by the libraries that they are for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("trl")
pytest.importorskip("datasets")

import datasets
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from trl.data_utils import is_conversational, maybe_apply_chat_template

from forge.mining.formats import FORMATS
from forge.mining.formats.chat import PREFERENCES
from forge.mining.formats.tagged import ADDED, IGNORED, Tagged, masked, tagged
from forge.mining.row import Row
from forge.records import FileChange
from tests.mined_rows import rows_of
from tests.small_repos import practice

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return rows_of(practice(tmp_path_factory.mktemp("history") / "small").path)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # `datasets` has no argument for it that every loader takes.
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    yield


@pytest.fixture(scope="module")
def tokenizer(rows: list[Row]) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer trained on the spot, as Qwen's is, with the ChatML template."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    text = [file.after or "" for row in rows for file in row.files]
    core.train_from_iterator(text, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=core, chat_template=CHATML, eos_token="<|im_end|>")


def loaded(path: Path, kind: str = "json") -> Any:
    return datasets.load_dataset(kind, data_files=str(path), split="train")


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_datasets_reads_every_format(name: str, rows: list[Row], tmp_path: Path) -> None:
    paths = FORMATS[name].write(rows, tmp_path / "out")
    data = [path for path in paths if path.name in ("train.jsonl", "train.parquet")]
    assert data
    for path in data:
        assert len(loaded(path, "parquet" if path.suffix == ".parquet" else "json")) > 0


def test_datasets_finds_both_splits_of_an_exported_folder(rows: list[Row], tmp_path: Path) -> None:
    held = [row.model_copy(update={"heldout": number < 2}) for number, row in enumerate(rows)]
    FORMATS["messages"].write(held, tmp_path / "out")
    found = datasets.load_dataset(str(tmp_path / "out"))
    assert {name: len(split) for name, split in found.items()} == {"train": len(rows) - 2, "test": 2}
    FORMATS["parquet"].write(held, tmp_path / "columns")
    assert datasets.load_dataset(str(tmp_path / "columns"))["test"].to_list() == found["test"].to_list()


def test_alpaca_has_its_three_columns_filled(rows: list[Row], tmp_path: Path) -> None:
    FORMATS["alpaca"].write(rows, tmp_path / "out")
    data = loaded(tmp_path / "out" / "train.jsonl")
    assert {"instruction", "input", "output"} <= set(data.column_names)
    assert all(isinstance(row["input"], str) and row["instruction"] and row["output"] for row in data)


@pytest.mark.parametrize(
    ("name", "keys"),
    [("messages", {"text"}), ("prompt-completion", {"prompt", "completion"}), ("preference", {"prompt", "chosen", "rejected"})],
)
def test_trl_takes_the_conversations_and_their_template(
    name: str, keys: set[str], rows: list[Row], tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    FORMATS[name].write(rows, tmp_path / "out")
    for row in loaded(tmp_path / "out" / "train.jsonl"):
        assert is_conversational(row)
        templated = maybe_apply_chat_template(row, tokenizer)
        assert keys <= set(templated)
        if "completion" in keys:
            answer = row["completion"][0]["content"]
            assert templated["completion"] == f"{answer}<|im_end|>\n" and templated["prompt"].endswith("<|im_start|>assistant\n")


def test_llama_factory_finds_what_its_converter_asks_for(rows: list[Row], tmp_path: Path) -> None:
    """As `get_dataset_list`, `_load_single_dataset` and the converter of the `sharegpt` formatting go about it."""
    FORMATS["llama-factory"].write(rows, tmp_path / "out")
    info = yaml.safe_load((tmp_path / "out" / "dataset_info.json").read_text())
    assert set(info) == {"forge", f"forge_{PREFERENCES}"}
    for entry in info.values():
        assert entry["formatting"] == "sharegpt"
        tags, columns = entry["tags"], entry["columns"]
        for row in loaded(tmp_path / "out" / entry["file_name"]):
            said = list(row[columns["messages"]])
            if said[0][tags["role_tag"]] == tags["system_tag"]:
                said = said[1:]
            # Turns alternate; an answer ends them, unless two answers to rank stand in columns of their own, as one message each.
            assert [turn[tags["role_tag"]] for turn in said] == [tags["user_tag"], tags["assistant_tag"]][: len(said)]
            assert len(said) == (1 if entry.get("ranking") else 2)
            for side in ("chosen", "rejected") if entry.get("ranking") else ():
                assert row[columns[side]][tags["role_tag"]] == tags["assistant_tag"] and row[columns[side]][tags["content_tag"]]


def test_axolotl_finds_files_and_fields_from_inside_the_folder(rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = [row.model_copy(update={"heldout": number == 0}) for number, row in enumerate(rows)]
    FORMATS["axolotl"].write(held, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    plain, pairs = (yaml.safe_load(Path(name).read_text()) for name in ("axolotl.yaml", f"axolotl-{PREFERENCES}.yaml"))
    assert plain["datasets"][0]["type"] == "chat_template" and plain["test_datasets"][0]["path"] == "test.jsonl"
    assert pairs["rl"] == "dpo" and pairs["datasets"][0]["type"] == "chat_template.default"
    for config in (plain, pairs):
        for entry in [*config["datasets"], *config.get("test_datasets", [])]:
            fields = [entry[key] for key in ("field_messages", "field_chosen", "field_rejected") if key in entry]
            data = datasets.load_dataset("json", data_files=entry["path"], split=entry["split"])
            assert set(fields) <= set(data.column_names)


def test_only_what_follows_the_last_tag_is_learnt(tokenizer: PreTrainedTokenizerFast) -> None:
    found = tagged(FileChange(path="a.py", before="x = 1\n", after="x = 2\n"), "count from two")
    assert isinstance(found, Tagged)
    assert found.text == "<NME> a.py\n<BEF> x = 1\n\n<MSG> count from two\n<DFF> @@ -1 +1 @@\n-x = 1\n+x = 2\n"
    ids, labels = masked(found, tokenizer)
    learnt = [label for label in labels if label != IGNORED]
    assert labels == [IGNORED] * (len(ids) - len(learnt)) + learnt == [*[IGNORED] * (len(ids) - len(learnt)), *ids[-len(learnt) :]]
    assert tokenizer.decode(learnt).lstrip() == "@@ -1 +1 @@\n-x = 1\n+x = 2\n"


def test_an_added_file_is_called_so_and_tags_in_the_text_are_refused() -> None:
    new = tagged(FileChange(path="a.py", before=None, after="x = 2\n"), "begin")
    assert isinstance(new, Tagged) and f"<BEF> {ADDED}\n" in new.text and new.text.endswith("<DFF> @@ -0,0 +1 @@\n+x = 2\n")
    assert not isinstance(tagged(FileChange(path="a.py", before="x = '<DFF>'\n", after="x = 2\n"), "no"), Tagged)
