"""Versions of adapters over time: manifests, writers at once, going back, clearing away."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import forge
from forge.errors import StoreError
from forge.records import AdapterRef, Interval, RoundReport, StepReport
from forge.store.adapters import MANIFEST, FolderAdapterStore, code_hash
from forge.store.ledger import Ledger, Promotion
from forge.store.promotions import before, go_back, standing, unneeded

Sets = list[dict[str, str]]


@pytest.fixture
def store(tmp_path: Path) -> FolderAdapterStore:
    return opened(tmp_path)


def opened(root: Path) -> FolderAdapterStore:
    return FolderAdapterStore(root / "adapters", Ledger(root / "ledger.db"))


def put(store: FolderAdapterStore, stage: str, version: str, number: int, content: str = "") -> AdapterRef:
    folder = store.root.parent / f"trained-{stage}-{version}-{multiprocessing.current_process().pid}"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_text(content or f"{stage} {version}")
    return store.add(folder, ref(stage, version, number))


def ref(stage: str, version: str, number: int) -> AdapterRef:
    return AdapterRef(
        stage=stage, version=version, round=number, path="", base="nano", base_sha256="b", data_sha256="d", rank=4, examples=7
    )


def promotions(*sets: dict[str, str]) -> list[Promotion]:
    return [Promotion(number=number, recorded=0.0, adapters=adapters) for number, adapters in enumerate(sets, 1)]


def report(number: int, adapters: dict[str, str]) -> RoundReport:
    step = StepReport(name="s", round=number, tasks=0, solved=0, pass_at_1=0.0, ci95=Interval(low=0.0, high=0.0), promoted=True)
    return RoundReport(round=number, name="s", examples={}, step=step, decision="", adapters=adapters)


# Manifests


def test_a_manifest_names_the_code_and_what_was_promoted_when_it_was_made(store: FolderAdapterStore) -> None:
    first = put(store, "review", "r1-a", 1)
    store.promote([first])
    put(store, "review", "r2-b", 2)
    manifest = store.manifest("review@r2-b")
    assert manifest.parents == {"review": "review@r1-a"}
    assert (manifest.parent_round, store.manifest("review@r1-a").parent_round) == (1, None)
    assert (manifest.forge, manifest.code_sha256) == (forge.__version__, code_hash())
    assert len(code_hash()) == 64


def test_a_manifest_of_an_earlier_forge_is_read(store: FolderAdapterStore) -> None:
    path = Path(put(store, "review", "r1-a", 1).path, MANIFEST)
    body = json.loads(path.read_text())
    path.write_text(json.dumps({key: body[key] for key in ("ref", "files", "config", "forge")}))
    assert store.manifest("review@r1-a").code_sha256 == ""
    assert store.get("review@r1-a").round == 1


@pytest.mark.parametrize(("text", "reason"), [("{", "Invalid JSON"), ("{}", "ref: Field required"), ("[]", "its text")])
def test_a_damaged_manifest_is_refused_in_one_sentence(text: str, reason: str, store: FolderAdapterStore) -> None:
    Path(put(store, "review", "r1-a", 1).path, MANIFEST).write_text(text)
    with pytest.raises(StoreError, match=reason) as failure:
        store.list()
    assert "\n" not in str(failure.value)


def test_an_unknown_version_is_answered_with_the_known_ones(store: FolderAdapterStore) -> None:
    with pytest.raises(StoreError, match="there are: none"):
        store.get("review@r9")
    put(store, "review", "r1-a", 1)
    with pytest.raises(StoreError, match=r"no adapter planning@r1-a .*there are: review@r1-a"):
        store.get("planning@r1-a")


# Writers at once


def add_many(root: Path, start: object, content: str, answers: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    store, refused = opened(root), 0
    for number in range(20):
        try:
            put(store, "review", f"r{number}-x", number, content)
        except StoreError:
            refused += 1
    answers.put(refused)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("contents", "refused"), [(("same",) * 4, 0), (("one", "other"), 20)])
def test_writers_at_once_leave_whole_versions_and_only_other_weights_are_refused(
    contents: tuple[str, ...], refused: int, tmp_path: Path
) -> None:
    opened(tmp_path).ledger.close()
    context = multiprocessing.get_context("fork")
    start, answers = context.Event(), context.Queue()
    writers = [context.Process(target=add_many, args=(tmp_path, start, content, answers)) for content in contents]
    for writer in writers:
        writer.start()
    start.set()
    assert sum(answers.get(timeout=60) for _ in writers) == refused
    for writer in writers:
        writer.join()
    assert [found.round for found in opened(tmp_path).list()] == list(range(20))
    assert list((tmp_path / "adapters").rglob(".tmp-*")) == []


# Going back


def test_each_step_back_goes_one_further_and_ends_at_the_base(store: FolderAdapterStore) -> None:
    for number in (1, 2, 3):
        store.promote([put(store, "review", f"r{number}", number)])
    assert [go_back(store) for _ in range(3)] == [{"review": "review@r2"}, {"review": "review@r1"}, {}]
    assert dict(store.promoted()) == {}
    with pytest.raises(StoreError, match="nothing was promoted"):
        go_back(store)
    assert [entry.adapters.get("review") for entry in store.ledger.history()] == [
        *(f"review@r{number}" for number in (1, 2, 3, 2, 1)),
        None,
    ]


def test_one_stage_goes_back_and_the_others_stay() -> None:
    history = promotions({"a": "a@1", "b": "b@1"}, {"a": "a@2", "b": "b@1"}, {"a": "a@2", "b": "b@2"})
    assert before(history, "a") == {"a": "a@1", "b": "b@2"}
    assert before(history, "b") == {"a": "a@2", "b": "b@1"}
    with pytest.raises(StoreError, match="nothing was promoted for c"):
        before(history, "c")


def test_any_earlier_set_can_be_named() -> None:
    history = promotions({"a": "a@1"}, {"a": "a@2", "b": "b@1"}, {"a": "a@3", "b": "b@1"})
    assert before(history, number=1) == {"a": "a@1"}
    assert before(history, "a", 1) == {"a": "a@1", "b": "b@1"}
    assert before(history, "b", 1) == {"a": "a@3"}
    with pytest.raises(StoreError, match=r"no promotion 9; there are: 1, 2, 3"):
        before(history, number=9)


def test_going_back_to_a_version_that_is_damaged_changes_nothing(store: FolderAdapterStore) -> None:
    first = put(store, "review", "r1", 1)
    store.promote([first])
    store.promote([put(store, "review", "r2", 2)])
    Path(first.path, "adapter_model.safetensors").write_text("other")
    with pytest.raises(StoreError, match="does not match its manifest"):
        go_back(opened(store.root.parent))
    assert store.ledger.promoted() == {"review": "review@r2"}


@given(st.lists(st.sampled_from(["1", "2", "3", "back"]), max_size=12))
def test_going_back_undoes_like_a_stack(steps: list[str]) -> None:
    history: Sets = []
    expected: Sets = [{}]
    for step in steps:
        if step == "back":
            if len(expected) > 1:
                expected.pop()
                history.append(dict(expected[-1]))
        elif {"a": step} not in (expected[-1], expected[-2] if len(expected) > 1 else None):
            expected.append({"a": step})
            history.append({"a": step})
    assert standing(history) == expected


# Clearing away


def test_what_is_promoted_was_promoted_or_is_in_a_report_stays(store: FolderAdapterStore) -> None:
    refs = [put(store, "review", f"r{number}", number) for number in range(1, 8)]
    store.promote([refs[2]])
    store.promote([refs[4]])
    reports = [report(1, {"review": "review@r1"})]
    assert [one.ref.version for one in unneeded(store, reports, keep=1)] == ["r2", "r4", "r6"]
    assert [one.ref.version for one in unneeded(store, reports, keep=0)] == ["r2", "r4", "r6", "r7"]
    assert unneeded(store, reports, keep=6) == []


def test_a_removed_version_is_gone_and_the_others_are_whole(store: FolderAdapterStore) -> None:
    put(store, "review", "r1", 1)
    put(store, "review", "r2", 2)
    assert store.remove("review@r1") > 0
    assert [found.version for found in store.list()] == ["r2"]
    assert [path.name for path in (store.root / "review").iterdir()] == ["r2"]
    with pytest.raises(StoreError, match="no adapter review@r1"):
        store.remove("review@r1")


def test_what_a_killed_writer_left_is_swept(store: FolderAdapterStore) -> None:
    put(store, "review", "r1", 1)
    (store.root / "review" / ".tmp-half").mkdir()
    (store.root / "review" / ".tmp-half" / MANIFEST).write_text("{}")
    assert store.model_ids() == ["review@r1"]
    assert store.sweep() == 1
    assert [path.name for path in (store.root / "review").iterdir()] == ["r1"]
