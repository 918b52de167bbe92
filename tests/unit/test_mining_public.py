from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("datasets")

import datasets

from forge.errors import ConfigError, EnvironmentLackError
from forge.mining.formats import FORMATS
from forge.mining.public.instruct import Instruct
from forge.mining.public.load import NEEDS_BOTH, UNKNOWN, Exercises, from_hub, load
from forge.mining.public.mix import Recipe, Share, mix, quotas
from forge.mining.public.sets import SETS, set_of

ROWS: dict[str, dict[str, Any]] = {
    "opencodeinstruct": {
        "id": "0b1c",
        "input": "Write a function that adds.",
        "output": "```python\ndef add(a, b):\n    return a + b\n```",
        "domain": "generic",
        "generation_algorithm": "self-instruct",
        "llm_judgement": json.dumps(
            {name: {"score": 4, "justification": "fine"} for name in ("requirement_conformance", "logical_correctness")}
        ),
        "unit_tests": '["assert add(1, 2) == 3"]',
        "tests_execution_status": '["pass"]',
        "average_test_score": "0.5",
    },
    "codefeedback": {"query": "Reverse a list.", "answer": "Use reversed.", "resource": "evolinstruct", "lang": "Python"},
    "magicoder-oss-instruct": {
        "lang": "cpp",
        "raw_index": 3,
        "index": 104,
        "seed": "int x;",
        "openai_fingerprint": "fp",
        "problem": "Declare it.",
        "solution": "int y;",
    },
    "opencoder-sft-stage2": {
        "seq_id": 7,
        "instruction": "Double it.",
        "output": "def f(x):\n    return 2 * x",
        "code": "def f(x):\n    return 2 * x",
        "entry_point": "f",
        "testcase": ["assert f(1) == 2"],
    },
    "swe-bench-train": {
        "repo": "a/b",
        "instance_id": "a__b-1",
        "base_commit": "c0ffee",
        "patch": "diff --git a/x.py b/x.py\n",
        "test_patch": "",
        "problem_statement": "It crashes.",
        "hints_text": "Look at x.",
        "created_at": "2020-01-01",
        "version": "1",
        "FAIL_TO_PASS": "[]",
        "PASS_TO_PASS": "[]",
        "environment_setup_commit": "",
    },
    "commitpackft": {
        "commit": "f00",
        "old_file": "a.py",
        "new_file": "a.py",
        "old_contents": "x = 1\n",
        "new_contents": "x = 2\n",
        "subject": "Count from two",
        "message": "Count from two\n",
        "lang": "Python",
        "license": "bsd-3-clause",
        "repos": "a/b,c/d",
    },
    "evol-instruct": {"instruction": "Sort it.", "output": "sorted(it)"},
}


def one(name: str, **changes: object) -> Instruct:
    return SETS[name].exercise(ROWS[name] | changes)


def exercise(name: str, number: int, quality: float | None = None, language: str = "") -> Instruct:
    return Instruct(
        id=f"{name}:{number}", source=name, instruction=f"{name} {number}", answer="x", licence="MIT", quality=quality, language=language
    )


def test_each_set_is_known_by_its_columns_and_read_into_one_record() -> None:
    assert {name: set_of(row).name for name, row in ROWS.items() if set_of(row)} == {name: name for name in SETS}  # type: ignore[union-attr]
    for name in SETS:
        found = one(name)
        assert found.source == name and found.instruction and found.answer
    assert one("magicoder-oss-instruct").id == "magicoder-oss-instruct:104" and one("magicoder-oss-instruct").language == "c++"
    assert one("codefeedback").language == "python"
    assert one("swe-bench-train").context == "a/b at c0ffee\n\nLook at x."
    commit = one("commitpackft")
    assert (commit.context, commit.answer, commit.licence) == ("x = 1\n", "x = 2\n", "BSD-3-Clause")
    assert one("evol-instruct").licence == "CC-BY-NC-SA-4.0" and one("evol-instruct").id == one("evol-instruct").id


def test_quality_is_what_the_set_measured() -> None:
    assert one("opencodeinstruct").quality == pytest.approx((0.5 + 0.75) / 2)
    assert one("opencodeinstruct", llm_judgement="{'logical_correctness': {'score': 5}}").quality == pytest.approx(0.75)
    assert one("opencodeinstruct", llm_judgement="good", average_test_score="").quality is None
    assert one("opencoder-sft-stage2").quality == 1.0 and one("opencoder-sft-stage2", testcase=None).quality is None


@pytest.mark.parametrize("name", sorted(ROWS))
@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "saved"])
def test_local_files_of_every_set_are_read(name: str, kind: str, tmp_path: Path) -> None:
    row, path = ROWS[name], tmp_path / f"data.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    elif kind == "saved":
        datasets.Dataset.from_list([row]).save_to_disk(str(path))
    else:
        path.write_text(json.dumps(row) + "\n" if kind == "jsonl" else json.dumps([row]))
    assert list(load(path)) == [SETS[name].exercise(row)] == list(load(path, name))


def test_rows_that_say_nothing_are_counted_by_reason() -> None:
    found = Exercises([ROWS["evol-instruct"], {"instruction": "Sort it.", "output": " "}, {"a": 1}])
    assert len(list(found)) == 1
    assert found.refused == {NEEDS_BOTH: 1, UNKNOWN: 1}


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text("{")
    with pytest.raises(ConfigError, match=r"cannot read .*broken\.jsonl"):
        list(load(tmp_path / "broken.jsonl"))
    with pytest.raises(ConfigError, match="no file or folder"):
        load(tmp_path / "nowhere.jsonl")
    with pytest.raises(ConfigError, match="no public set"):
        load(tmp_path, "unheard-of")


def test_without_a_network_the_hub_is_named_as_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    # The hub's client takes its address from the environment of the process; there is no seam for it.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(EnvironmentLackError, match="nvidia/OpenCodeInstruct"):
        from_hub("opencodeinstruct")


def test_a_mixture_takes_the_best_of_each_set_by_weight() -> None:
    recipe = Recipe(total=8, seed=1, shares={"a": Share(weight=3.0), "b": Share(weight=1.0)})
    a = [exercise("a", number, quality=number / 100) for number in range(100)]
    b = [exercise("b", number) for number in range(10)]
    mixture = mix({"a": a, "b": b}, recipe)
    assert Counter(found.source for found in mixture) == {"a": 6, "b": 2}
    assert sorted(found.quality for found in mixture if found.quality) == [0.94, 0.95, 0.96, 0.97, 0.98, 0.99]
    assert mixture.counts["a"].model_dump() == {"read": 100, "wanted": 6, "taken": 6, "spare": 94, "dropped": {}}


def test_a_mixture_does_not_hang_on_the_order_of_its_sources_but_on_its_seed() -> None:
    rows = {name: [exercise(name, number) for number in range(50)] for name in "ab"}
    shares = {"a": Share(), "b": Share(take="any")}

    def ids(seed: int, *, turned: bool = False) -> list[str]:
        return [
            found.id for found in mix({n: r[::-1] if turned else r for n, r in rows.items()}, Recipe(total=20, seed=seed, shares=shares))
        ]

    assert ids(3) == ids(3, turned=True) != ids(4)
    assert {first[0] for first in ids(3)[:8]} == {"a", "b"}


def test_what_a_mixture_leaves_out_is_counted() -> None:
    share = Share(least_quality=0.5, languages=("python",))
    rows = [exercise("a", 1, 0.4), exercise("a", 2, 0.9), exercise("a", 3, language="go"), exercise("a", 2, 0.9), exercise("a", 5)]
    mixture = mix({"a": rows}, Recipe(total=9, shares={"a": share}))
    assert sorted(found.id for found in mixture) == ["a:2", "a:5"]
    assert mixture.counts["a"].dropped == {"below the least quality": 1, "another language": 1, "same as another": 1}
    assert mixture.counts["a"].wanted == 9 and mixture.counts["a"].taken == 2


def test_recipe_and_sources_must_name_the_same_sets() -> None:
    with pytest.raises(ConfigError, match="differ in b"):
        mix({"a": []}, Recipe(total=1, shares={"a": Share(), "b": Share()}))


@given(st.integers(1, 10_000), st.lists(st.floats(0.01, 100.0), min_size=1, max_size=8))
def test_quotas_add_up_to_the_total(total: int, weights: list[float]) -> None:
    found = quotas(Recipe(total=total, shares={str(number): Share(weight=weight) for number, weight in enumerate(weights)}))
    assert sum(found.values()) == total
    assert all(abs(found[str(n)] - total * weight / sum(weights)) < 1.0 for n, weight in enumerate(weights))


def test_a_mixture_is_exported_like_rows(tmp_path: Path) -> None:
    sources = {name: [one(name)] for name in SETS}
    mixture = mix(sources, Recipe(total=len(SETS), shares={name: Share() for name in SETS}))
    FORMATS["alpaca"].write(mixture, tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    assert {line["source"] for line in lines} == set(SETS)
    assert {line["licence"] for line in lines} >= {"CC-BY-4.0", "BSD-3-Clause"}
