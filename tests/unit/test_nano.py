"""The generator: families kept apart, functions that work, histories that look like life and repeat by seed."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest

from forge.nano.base_families import BASE_FAMILIES
from forge.nano.corpus import rows
from forge.nano.drills import FIRST_TOKEN, WIDTHS, drills
from forge.nano.functions import evaluate, make, shape
from forge.nano.practice_families import PRACTICE_FAMILIES
from forge.nano.programs import VERBS, compose_family
from forge.nano.repository import generate
from forge.records import STAGES


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("repos") / "one", seed=3, name="one", commits=120, modules=10, difficulty=0.5, faulty=0.5)


def test_base_and_practice_families_share_neither_names_nor_verbs_nor_shapes() -> None:
    base, practice = ({family.name for family in families} for families in (BASE_FAMILIES, PRACTICE_FAMILIES))
    assert not base & practice
    verbs = [{verb for family in families for verb in family.verbs} for families in (BASE_FAMILIES, PRACTICE_FAMILIES)]
    assert not verbs[0] & verbs[1]
    rng = random.Random(1)
    base_shapes, practice_shapes = (
        {shape(make(family, rng, difficulty=1.0).source) for family in families for _ in range(25)}
        for families in (BASE_FAMILIES, PRACTICE_FAMILIES)
    )
    assert not base_shapes & practice_shapes


@pytest.mark.parametrize("family", [*BASE_FAMILIES, *PRACTICE_FAMILIES], ids=lambda family: family.name)
def test_every_family_makes_functions_whose_calls_give_what_they_say(family) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(family.name)
    for difficulty in (0.0, 0.5, 1.0):
        function = make(family, rng, difficulty=difficulty)
        assert len(function.calls) >= 3
        assert all(evaluate(function.source, call) == expected for call, expected in function.calls)


def test_a_hanging_or_failing_call_is_a_result() -> None:
    assert evaluate("def f(x):\n    while True:\n        x += 1\n", "f(1)") == "!hang"
    assert evaluate("def f(x):\n    return x[9]\n", "f([])") == "!IndexError"


def test_a_history_looks_like_life_and_repeats_by_seed(repository: Path, tmp_path: Path) -> None:
    log = _git(repository, "log", "--format=%s").splitlines()
    assert len(log) >= 120
    assert (
        any("fix" in line for line in log)
        and any(line.startswith("Merge") for line in log)
        and "" in _git(repository, "log", "--format=%an")
    )
    assert "bot" in _git(repository, "log", "--format=%an")
    assert len(_git(repository, "log", "--merges", "--format=%h").split()) >= 2
    again = generate(tmp_path / "again", seed=3, name="one", commits=120, modules=10, difficulty=0.5, faulty=0.5)
    other = generate(tmp_path / "other", seed=4, name="one", commits=120, modules=10, difficulty=0.5, faulty=0.5)
    head = _git(repository, "rev-parse", "HEAD")
    assert _git(again, "rev-parse", "HEAD") == head != _git(other, "rev-parse", "HEAD")


def test_at_head_every_test_of_a_practice_repository_passes(repository: Path) -> None:
    tests = sorted(repository.glob("tests/test_*.py"))
    assert tests
    for file in tests:
        scope: dict[str, object] = {}
        for module in re.findall(r"^from (\S+) import", file.read_text(), re.MULTILINE):
            exec((repository / (module.replace(".", "/") + ".py")).read_text(), scope)
        text = re.sub(r"^from .*$", "", file.read_text(), flags=re.MULTILINE)
        exec(text, scope)
        for name in [name for name in scope if name.startswith("test_")]:
            scope[name]()  # type: ignore[operator]


def test_the_corpus_teaches_every_stage_from_base_families_alone() -> None:
    made = [row for group in rows(7, 60) for row in group]
    assert {row.stage for row in made} == set(STAGES)
    families = {row.lineage.repo.removeprefix("nano/") for row in made}
    assert families <= {family.name for family in BASE_FAMILIES} | {"random"}
    assert [row.content_hash() for row in made] == [row.content_hash() for group in rows(7, 60) for row in group]


def test_in_a_drill_only_what_has_come_before_has_weight() -> None:
    batches = list(drills(random.Random(0), vocabulary=300, batch_tokens=640))
    assert len(batches) == sum(steps for _, steps in WIDTHS)
    for tokens, weights in (row for batch in batches[::17] for row in batch):
        assert len(tokens) == len(weights) and min(tokens) >= FIRST_TOKEN and max(tokens) < 300
        for place, weight in enumerate(weights):
            pair = tokens[place - 1 : place + 1]
            assert weight == 0.0 or any(tokens[i : i + 2] == pair for i in range(place - 1))


def test_composed_programs_work_differ_and_share_nothing_with_practice_families() -> None:
    rng = random.Random(5)
    assert not set(VERBS) & {verb for family in PRACTICE_FAMILIES for verb in family.verbs}
    practice = {shape(make(family, rng, difficulty=1.0).source) for family in PRACTICE_FAMILIES for _ in range(25)}
    shapes = set()
    for _ in range(150):
        function = make(compose_family(rng), rng, difficulty=1.0, calls=5)
        assert all(evaluate(function.source, call) == expected for call, expected in function.calls)
        shapes.add(shape(function.source))
    assert len(shapes) > 120 and not shapes & practice
