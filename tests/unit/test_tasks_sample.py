from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.config import InjectConfig, TasksConfig, load
from forge.errors import ConfigError
from forge.fakes.sandbox import FakeProvider
from forge.mining.history import GitHistory, open_history
from forge.records import Easier, Limits, Symbol, Task, TestRun
from forge.stages.source.symbols import symbols_of
from forge.store.trees import TreeStore
from forge.tasks.attempt import Attempts, Place
from forge.tasks.inject import Bug, bugs_at, with_bugs
from forge.tasks.journal import Tried
from forge.tasks.plan import Plan, Unit
from forge.tasks.prove import Prover
from forge.tasks.sample import DISTANCES, easier, functions_in_reach, sample
from forge.tasks.spread import evenness, spread
from forge.tasks.visibility import Visibility
from forge.tasks.yields import LEFT_OUT, YIELDS, weight
from tests.small_repos import module, practice

CONFIG = TasksConfig(proof_runs=1)
STEMS = tuple(f"m{number}" for number in range(8))
SOURCE = """def shown(a):
    return _inner(a) + 1


def _inner(a):
    return a * 2


def alone(a):
    return a - 1


class Box:
    def __len__(self):
        return len(self.items)
"""


def planned(tmp_path: Path, inject: InjectConfig, seed: int = 0) -> Plan:
    histories = [
        GitHistory(name, (tmp_path / name if (tmp_path / name).exists() else practice(tmp_path / name, stems).path))
        for name, stems in (("near", STEMS), ("far", STEMS[:3]))
    ]
    try:
        return sample(histories, CONFIG, inject, seed=seed)
    finally:
        for history in histories:
            history.close()


def test_repositories_modules_functions_and_operators_take_turns(tmp_path: Path) -> None:
    units = planned(tmp_path, InjectConfig()).units
    first = units[:6]
    assert [unit.repo for unit in first] == ["near", "far"] * 3
    assert len({(unit.repo, unit.path) for unit in first}) == 6
    by_function = Counter((unit.repo, unit.path, unit.name) for unit in units)
    firsts = [unit for unit in units if unit.turn == 0]
    assert len(firsts) == len(by_function) and units[: len(firsts)] == tuple(firsts)
    assert len({unit.sites[0].operators[0] for unit in firsts}) > 8
    assert all(operator not in LEFT_OUT for unit in units for site in unit.sites for operator in site.operators)


def test_the_plan_is_the_same_for_the_same_seed_and_another_for_another(tmp_path: Path) -> None:
    first, again, other = (planned(tmp_path, InjectConfig(), seed) for seed in (0, 0, 1))
    assert first == again != other


def test_easier_tasks_have_one_bug_of_the_kinds_asked_for_on_the_training_side_near_modules_first(tmp_path: Path) -> None:
    def made(batch: Easier) -> Plan:
        history = GitHistory("near", (tmp_path / "near" if (tmp_path / "near").exists() else practice(tmp_path / "near", STEMS).path))
        try:
            return easier([history], CONFIG, batch)
        finally:
            history.close()

    every = made(Easier(round=3, count=5))
    heldout = {path for _, path in every.heldout_files}
    assert every.units and not {unit.path for unit in every.units} & heldout and {unit.side for unit in every.units} == {"train"}
    near = max(unit.path for unit in every.units)
    kinds = tuple(dict.fromkeys(operator for unit in every.units for operator in unit.sites[0].operators))[1:3]
    chosen = made(Easier(round=3, count=5, operators=kinds, near=(f"near:{near}",))).units
    assert [len(unit.sites) for unit in chosen] == [1] * len(chosen) and len(chosen) < len(every.units)
    assert {operator for unit in chosen for operator in unit.sites[0].operators} <= set(kinds)
    of_first_turn = [unit.path for unit in chosen if unit.turn == 0]
    assert near in of_first_turn and of_first_turn.index(near) == 0


@pytest.mark.parametrize("distance", DISTANCES)
def test_several_bugs_lie_as_far_apart_as_asked_and_on_one_side(tmp_path: Path, distance: str) -> None:
    made = planned(tmp_path, InjectConfig.model_validate({"min_bugs": 2, "max_bugs": 2, "distance": distance}))
    heldout = set(made.heldout_files)
    assert made.units
    for unit in made.units:
        one, two = unit.sites
        assert ((one.path, one.name) == (two.path, two.name)) == (distance == "function")
        assert (one.path == two.path) == (distance != "repository")
        assert ((unit.repo, one.path) in heldout) == ((unit.repo, two.path) in heldout) == (unit.side == "heldout")


def test_no_place_is_planned_twice(tmp_path: Path) -> None:
    units = planned(tmp_path, InjectConfig(min_bugs=1, max_bugs=3)).units
    sites = [(unit.repo, site.path, site.name, site.used) for unit in units for site in unit.sites]
    assert len(sites) == len(set(sites))
    assert {len(unit.sites) for unit in units} == {1, 2, 3}


def test_functions_that_tests_reach_by_name_are_found_through_others_and_through_their_class() -> None:
    found = functions_in_reach("a.py", SOURCE, "from a import shown, Box\n")
    assert [symbol.name for symbol in found] == ["shown", "_inner", "Box.__len__"]


def test_weights_are_shares_and_unknown_operators_get_one_half() -> None:
    assert weight("never seen") == 0.5
    assert all(0 < weight(operator) < 1 for operator in YIELDS)
    assert all(0 <= valid <= tried for valid, tried in YIELDS.values())


def symbol(name: str) -> Symbol:
    return next(found for found in symbols_of("a.py", SOURCE) if found.name == name)


def test_bugs_of_one_file_are_planted_together_and_gold_undoes_them_all() -> None:
    bugs = [next(bugs_at(SOURCE, symbol(name), ["return-none"], 0, 0)) for name in ("shown", "alone")]
    made = with_bugs("r", "h", "t", {"a.py": SOURCE.encode(), "test_a.py": b""}, bugs, ["test_a.py"])
    assert made.operator == "return-none+return-none"
    assert made.names == ("shown", "alone")
    assert made.broken[0].content == SOURCE.replace("_inner(a) + 1", "None").replace("a - 1", "None")
    assert [edit.content for edit in made.gold] == [SOURCE]


def test_bugs_are_looked_for_on_lines_that_run() -> None:
    shown = symbol("shown")
    assert list(bugs_at(SOURCE, shown, ["arithmetic"], 0, 0, reached=lambda first, _: first == 2))
    assert not list(bugs_at(SOURCE, shown, ["arithmetic"], 0, 0, reached=lambda first, _: first != 2))


def test_bugs_that_share_text_touch() -> None:
    bug = Bug(path="a.py", name="f", operator="x", start=5, end=9, text="")
    assert bug.touches([bug.model_copy(update={"start": 9, "end": 12})])
    assert not bug.touches([bug.model_copy(update={"start": 10, "end": 12}), bug.model_copy(update={"path": "b.py"})])


def run_of(**outcomes: str) -> TestRun:
    named = {name.replace("__", ".py::"): outcome for name, outcome in outcomes.items()}
    return TestRun.model_validate({"outcomes": named, "complete": True})


def test_bugs_are_refused_as_too_visible_or_too_hidden_by_the_share_of_failing_tests() -> None:
    healthy = run_of(a__1="passed", a__2="passed", b__1="passed", b__2="passed", b__3="skipped")
    one = run_of(a__1="failed", a__2="passed", b__1="passed", b__2="passed")
    three = run_of(a__1="failed", a__2="error", b__1="failed", b__2="passed")
    assert Visibility(most=0.25).refusal(one, healthy) == ""
    assert Visibility(most=0.5).refusal(three, healthy) == "too visible: more than 50% of the tests fail"
    assert Visibility(least=0.5).refusal(one, healthy) == "too hidden: fewer than 50% of the tests fail"
    assert Visibility().refusal(run_of(b__1="passed", b__2="passed"), healthy) == "too visible: its tests cannot be imported"


@given(st.lists(st.integers(min_value=0, max_value=50), min_size=1, max_size=12), st.integers(min_value=1, max_value=40))
def test_evenness_lies_between_nothing_and_one(counts: list[int], offered: int) -> None:
    assert 0.0 <= evenness(counts, max(offered, len(counts))) <= 1.0


def test_evenness_is_one_when_nothing_comes_twice_before_all_came_once() -> None:
    assert evenness([1, 1, 1], 100) == pytest.approx(1.0)
    assert evenness([5, 5], 2) == pytest.approx(1.0)
    assert evenness([4], 4) == 0.0
    assert evenness([3, 1], 4) == pytest.approx(0.8112781 / 2, abs=1e-6)  # bits of (3/4, 1/4), over 2 bits


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("inject.min_bugs=3", "min_bugs=3 exceeds max_bugs=1"),
        ("inject.min_failing=0.6", "min_failing=0.6 is not below max_failing=0.5"),
        ("inject.max_bugs=6", "max_bugs=6 in one function exceeds per_function=4"),
    ],
)
def test_knobs_that_contradict_each_other_are_one_sentence(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load([], [override])


def tried(tmp_path: Path, inject: InjectConfig, count: int) -> list[tuple[Unit, Tried]]:
    repo = practice(tmp_path / "repo")
    trees = TreeStore(tmp_path / "trees")
    prover = Prover(FakeProvider(), trees.folder, Limits(), runs=1, run_id="test")
    place = Place(path=str(repo.path), head=repo.git("rev-parse", "HEAD"))
    trying = Attempts({"small": place}, open_history, prover, trees, CONFIG, 0, inject=inject)
    history = GitHistory("small", repo.path)
    units = sample([history], CONFIG, inject).units[:count]
    history.close()

    async def all_of_them() -> list[Tried]:
        return [await trying.attempt(unit) for unit in units]

    ends = asyncio.run(all_of_them())
    trying.close()
    return list(zip(units, ends, strict=True))


def tasks_of(pairs: list[tuple[Unit, Tried]]) -> list[tuple[Unit, Task]]:
    return [(unit, end.task) for unit, end in pairs if end.task is not None]


def test_planned_bugs_become_tasks_and_every_try_is_counted(tmp_path: Path) -> None:
    pairs = tried(tmp_path, InjectConfig(max_failing=0.9), 20)
    found = tasks_of(pairs)
    assert len(found) > 10
    for _, end in pairs:
        assert sum(end.operators.values()) >= sum(end.noticed.values()) == (end.task is not None)
    levels = spread(found, [unit for unit, _ in pairs])
    assert levels["functions"].different == len({(unit.path, unit.name) for unit, _ in found})
    assert levels["repositories"].evenness == 1.0


def test_a_task_of_several_bugs_needs_every_one_repaired(tmp_path: Path) -> None:
    found = tasks_of(tried(tmp_path, InjectConfig(min_bugs=2, max_bugs=2, distance="module", max_failing=0.9), 8))
    assert found
    for unit, task in found:
        assert task.operator.count("+") == 1
        assert len(task.fail_to_pass) >= 2 or len({site.name for site in unit.sites}) == 1
        assert all(name in task.statement for name in {site.name for site in unit.sites})


def test_bugs_that_fail_too_many_tests_are_refused_with_the_reason(tmp_path: Path) -> None:
    pairs = tried(tmp_path, InjectConfig(max_failing=0.1), 4)
    assert not tasks_of(pairs)
    assert any("too visible" in reason for _, end in pairs for reason in end.refused)


def test_modules_whose_tests_do_not_pass_are_given_up_at_the_first_bug(tmp_path: Path) -> None:
    repo = practice(tmp_path / "repo")
    repo.commit({"pkg/apple.py": "import not_installed_here\n" + module("apple")}, "need something")
    trees = TreeStore(tmp_path / "trees")
    prover = Prover(FakeProvider(), trees.folder, Limits(), runs=1, run_id="test")
    trying = Attempts({"small": Place(path=str(repo.path), head=repo.git("rev-parse", "HEAD"))}, open_history, prover, trees, CONFIG, 0)
    history = GitHistory("small", repo.path)
    unit = next(unit for unit in sample([history], CONFIG, InjectConfig()).units if unit.path == "pkg/apple.py")
    history.close()
    end = asyncio.run(trying.attempt(unit))
    trying.close()
    assert end.task is None
    assert end.refused == {"inject: no test passes with gold": 1}
