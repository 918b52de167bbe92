"""Records survive Parquet exactly, whatever is in them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.errors import StoreError
from forge.records import AdapterRef, Commit, Example, Lineage, Message, Record, StepReport, Task, TestRun, Trajectory
from forge.store import parquet

SCALARS = {
    int: st.integers(min_value=-(2**63), max_value=2**63 - 1),
    float: st.floats(allow_nan=False),
    str: st.text(max_size=8),
}


class Odd(Record):
    """Every kind of field at once, nested and optional."""

    class_name: str
    maybe: int | None
    pairs: dict[str, tuple[int, ...]]
    inner: Lineage | None
    many: tuple[Lineage | None, ...]
    flag: bool
    ratio: float


def records_of(kind: type[Record]) -> st.SearchStrategy[Record]:
    return st.builds(kind, **{name: values_of(field.annotation) for name, field in kind.model_fields.items()})


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    arguments = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return st.one_of([values_of(argument) for argument in arguments])
    if get_origin(annotation) is tuple:
        return st.lists(values_of(arguments[0]), max_size=2).map(tuple)
    if get_origin(annotation) is dict:
        return st.dictionaries(st.text(max_size=4), values_of(arguments[1]), max_size=2)
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return records_of(annotation)
    return SCALARS[annotation] if annotation in SCALARS else st.from_type(annotation)


@pytest.mark.parametrize("kind", [Odd, Commit, Example, Task, AdapterRef, Trajectory, StepReport, TestRun])
def test_records_read_back_equal_what_was_written(kind: type[Record]) -> None:
    @settings(max_examples=15)
    @given(st.lists(records_of(kind), max_size=2))
    def round_trip(rows: list[Record]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.parquet"
            assert parquet.write_records(path, rows, kind) == len(rows)
            back = parquet.read_records(path, kind)
            assert back == rows
            assert [row.content_hash() for row in back] == [row.content_hash() for row in rows]

    round_trip()


def example(text: str) -> Example:
    return Example(stage="review", messages=(Message(role="user", content=text),), completion="yes", lineage=Lineage(repo="r"))


def test_a_folder_reads_as_its_files_in_name_order(tmp_path: Path) -> None:
    parquet.write_examples(tmp_path / "b.parquet", [example("2")])
    parquet.write_examples(tmp_path / "a.parquet", [example("1")])
    (tmp_path / ".tmp-half-c.parquet").write_bytes(b"unfinished")
    assert [row.messages[0].content for row in parquet.read_examples(tmp_path)] == ["1", "2"]


def test_another_record_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_examples(path, [example("x")])
    with pytest.raises(StoreError, match="holds Example:1, not Task:2"):
        parquet.read_tasks(path)


def test_a_foreign_or_broken_file_is_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(parquet.to_table([example("x")], Example).replace_schema_metadata(None), foreign)
    with pytest.raises(StoreError, match="nothing of forge"):
        parquet.read_examples(foreign)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="cannot read"):
        parquet.read_examples(tmp_path / "broken.parquet")


def test_a_failing_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_examples(path, [example("old")])
    too_big = example("new").model_copy(update={"lineage": Lineage.model_construct(repo="r", round=2**80, files=())})
    with pytest.raises(Exception, match=r"too large|overflow|int"):
        parquet.write_examples(path, [too_big])
    assert parquet.read_examples(path) == [example("old")]
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.parquet"]


def test_a_stream_of_records_is_the_same_records(tmp_path: Path) -> None:
    rows = [Lineage(repo=f"r{number}", files=("a", "b")) for number in range(3 * parquet.GROUP + 5)]
    with parquet.writing(tmp_path / "rows.parquet", Lineage) as writer:
        for row in rows:
            writer.add(row)
    assert (
        list(parquet.stream_records(tmp_path / "rows.parquet", Lineage)) == rows == parquet.read_records(tmp_path / "rows.parquet", Lineage)
    )
    only = list(parquet.stream_records(tmp_path / "rows.parquet", Lineage, columns=["repo"]))
    assert only == [Lineage(repo=row.repo) for row in rows]


def test_a_stream_without_records_is_a_file_of_none(tmp_path: Path) -> None:
    with parquet.writing(tmp_path / "rows.parquet", Lineage):
        pass
    assert list(parquet.stream_records(tmp_path / "rows.parquet", Lineage)) == []


def test_a_stream_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), parquet.writing(tmp_path / "rows.parquet", Lineage) as writer:
        writer.add(Lineage(repo="r"))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreError, match="cannot read"):
        list(parquet.stream_records(tmp_path / "rows.parquet", Lineage))
