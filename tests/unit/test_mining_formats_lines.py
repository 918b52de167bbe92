from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.errors import ConfigError
from forge.mining.formats import FORMATS
from forge.mining.formats.blocks import blocks_of, played
from forge.mining.formats.edits import patch_of
from forge.mining.formats.lesson import lessons_of
from forge.mining.public.instruct import Instruct
from forge.mining.row import Row
from forge.mining.teaching import examples_of
from forge.records import STAGES, Drop, Example, FileChange
from tests.mined_rows import rows_of
from tests.small_repos import module, practice

EXERCISE = Instruct(
    id="set:1", source="set", instruction="Add two numbers.", answer="```python\ndef add(a, b):\n    return a + b\n```", licence="MIT"
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return rows_of(practice(tmp_path_factory.mktemp("history") / "small").path)


@pytest.fixture(scope="module")
def examples(rows: list[Row]) -> list[Example]:
    return [example for row in rows if row.change for example in examples_of(row.change)]


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def replayed(text: str, files: dict[str, str]) -> dict[str, str]:
    """A reader of SEARCH/REPLACE that shares no code with forge: blocks by their marks, each replaced where its lines stand alone."""
    files = dict(files)
    lines = text.split("\n")
    while lines:
        path, mark = lines.pop(0), lines.pop(0)
        assert mark == "<<<<<<< SEARCH"
        old, new = [], []
        while (line := lines.pop(0)) != "=======":
            old.append(line)
        while (line := lines.pop(0)) != ">>>>>>> REPLACE":
            new.append(line)
        if path not in files:
            assert not old
            files[path] = "".join(f"{line}\n" for line in new)
            continue
        framed, needle = f"\n{files[path]}\n", "\n" + "\n".join(old) + "\n"
        assert framed.count(needle) == 1
        files[path] = framed.replace(needle, "\n" + "".join(f"{line}\n" for line in new))[1:-1]
    return files


def before(row: Row) -> dict[str, str]:
    return {file.old_path or file.path: file.before for file in row.files if file.before is not None}


def after(row: Row) -> dict[str, str]:
    return {file.path: file.after for file in row.files if file.after is not None}


def test_blocks_of_every_commit_make_the_files_after_it_by_another_reader(rows: list[Row]) -> None:
    told = [(row, blocks_of(row.files)) for row in rows]
    assert len(told) == 9
    for row, text in told:
        assert isinstance(text, str)
        assert replayed(text, before(row)) == after(row) == played(text, before(row))


LINES = st.lists(st.sampled_from(["a", "b", "  a", "", "```", "=======", "<<<<<<< SEARCH", ">>>>>>> REPLACE"]), max_size=9)


@given(LINES, LINES, st.sampled_from(["", "\n"]), st.sampled_from(["", "\n"]))
def test_blocks_play_exactly_or_are_not_given(old: list[str], new: list[str], old_end: str, new_end: str) -> None:
    change = FileChange(path="a.py", before="\n".join(old) + old_end, after="\n".join(new) + new_end)
    text = blocks_of([change])
    assert isinstance(text, Drop) or change.before != change.after
    if isinstance(text, str):
        assert played(text, {"a.py": change.before or ""}) == {"a.py": change.after}


def test_files_that_blocks_cannot_say_are_named() -> None:
    def reason(change: FileChange) -> str:
        dropped = blocks_of([change])
        assert isinstance(dropped, Drop)
        return dropped.reason

    assert reason(FileChange(path="a.py", before="x = 1\n", after=None)) == "deletes a file"
    assert reason(FileChange(path="b.py", old_path="a.py", before="x = 1\n", after="x = 1\n")) == "renames a file"
    assert reason(FileChange(path="a.py", before=None, after="x = 1")) == "a new file without a newline at its end"
    assert reason(FileChange(path="a.py", before="x = 1\n", after="x = 1\n>>>>>>> REPLACE\n")) == "not expressible as edits"
    assert blocks_of([FileChange(path="a/__init__.py", before=None, after="")]) == "a/__init__.py\n<<<<<<< SEARCH\n=======\n>>>>>>> REPLACE"


def test_git_applies_every_exported_diff(rows: list[Row], tmp_path: Path) -> None:
    FORMATS["diff"].write(rows, tmp_path / "out")
    lines = read(tmp_path / "out" / "train.jsonl")
    assert [line["id"] for line in lines] == [row.id for row in rows]
    for number, (line, row) in enumerate(zip(lines, rows, strict=True)):
        tree = tmp_path / str(number)
        for file in line["files"]:  # type: ignore[attr-defined]
            (tree / file["path"]).parent.mkdir(parents=True, exist_ok=True)
            (tree / file["path"]).write_text(file["content"])
        tree.mkdir(exist_ok=True)
        subprocess.run(["git", "apply", "-"], input=str(line["diff"]).encode(), cwd=tree, check=True)
        assert {path: (tree / path).read_text() for path in after(row)} == after(row)


def test_a_diff_that_git_did_not_write_is_made_from_the_files(rows: list[Row]) -> None:
    bare = rows[0].model_copy(update={"files": tuple(file.model_copy(update={"diff": ""}) for file in rows[0].files)})
    assert patch_of(bare) == patch_of(rows[0]) != ""


def test_every_format_counts_what_it_wrote_and_what_it_left_out(rows: list[Row], examples: list[Example], tmp_path: Path) -> None:
    sources = [*rows, *examples, EXERCISE]
    for name, form in FORMATS.items():
        paths = form.write(iter(sources), tmp_path / name)
        assert all(path.is_file() for path in paths)
        manifest = json.loads(paths[-1].read_text())
        assert manifest["format"] == name and manifest["sources"] == len(sources)
        assert sum(manifest["rows"].values()) > 0
        for path, count in manifest["rows"].items():
            if path.endswith(".jsonl"):
                assert len(read(tmp_path / name / path)) == count


def test_examples_are_written_stage_by_stage(examples: list[Example], tmp_path: Path) -> None:
    FORMATS["messages"].write(examples, tmp_path / "out")
    assert {path.parent.name for path in (tmp_path / "out").glob("*/train.jsonl")} == set(STAGES)
    line = read(tmp_path / "out" / "review" / "train.jsonl")[0]["messages"]
    assert [message["role"] for message in line] == ["system", "user", "assistant"]  # type: ignore[attr-defined,index]
    assert line[-1]["content"] in ("yes", "no")  # type: ignore[index]


def test_held_out_rows_are_written_apart(rows: list[Row], tmp_path: Path) -> None:
    held = [row.model_copy(update={"heldout": number == 0}) for number, row in enumerate(rows)]
    for name in ("alpaca", "preference", "tagged-diff", "search-replace", "context", "graph", "llama-factory"):
        FORMATS[name].write(held, tmp_path / name)
        ids = {str(line["id"]) for path in (tmp_path / name).rglob("train.jsonl") for line in read(path)}
        tests = {str(line["id"]) for path in (tmp_path / name).rglob("test.jsonl") for line in read(path)}
        assert not any(held[0].id in identity for identity in ids)
        assert all(held[0].id in identity for identity in tests)


def test_a_folder_that_holds_something_is_left_alone(rows: list[Row], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    FORMATS["alpaca"].write(rows, tmp_path / "out")
    with pytest.raises(ConfigError, match="not empty"):
        FORMATS["alpaca"].write(rows, tmp_path / "out")


def test_an_export_that_breaks_off_leaves_nothing(rows: list[Row], tmp_path: Path) -> None:
    def broken() -> object:
        yield rows[0]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        FORMATS["alpaca"].write(broken(), tmp_path / "out")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_nobody_asked_for_is_no_lesson(rows: list[Row]) -> None:
    silent = rows[0].model_copy(update={"poor": "too short", "change": None})
    assert [drop.reason for drop in lessons_of(silent) if isinstance(drop, Drop)] == ["nothing says what was asked"]


def test_preferences_hold_one_pair_for_each_wrong_edit(rows: list[Row], tmp_path: Path) -> None:
    FORMATS["preference"].write(rows, tmp_path / "out")
    lines = read(tmp_path / "out" / "train.jsonl")
    assert len(lines) == sum(len(row.change.wrong) for row in rows if row.change) > 0
    assert all(line["chosen"] != line["rejected"] for line in lines)


def test_context_shows_relevant_and_other_files_by_path(tmp_path: Path, rows: list[Row]) -> None:
    row = next(row for row in rows if row.change)
    assert row.change is not None
    far = row.change.touched[0].model_copy(update={"path": "pkg/zoo.py", "source": "def cage():\n    return 1\n"})
    wide = row.model_copy(update={"change": row.change.model_copy(update={"offered": (*row.change.offered, far)})})
    FORMATS["context"].write([wide], tmp_path / "out")
    line = read(tmp_path / "out" / "train.jsonl")[0]
    paths = [file["path"] for file in line["files"]]  # type: ignore[attr-defined]
    assert paths == sorted(paths) and "pkg/zoo.py" in paths and "pkg/zoo.py" not in line["relevant"]  # type: ignore[operator]
    assert replayed(str(line["solution"]), before(wide)) == after(wide)


def test_module_sources_of_the_practice_history_are_what_the_rows_hold(rows: list[Row]) -> None:
    assert module("apple") in {file.after for row in rows for file in row.files}
