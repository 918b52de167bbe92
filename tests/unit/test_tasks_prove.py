from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from forge.config import TasksConfig
from forge.errors import SandboxError
from forge.fakes.sandbox import FakeProvider
from forge.mining.history import GitHistory, open_history
from forge.records import Commit, Drop, FileEdit, Limits, Task, TestRun
from forge.store.trees import TreeStore
from forge.tasks.attempt import Attempts, Place
from forge.tasks.candidate import Candidate
from forge.tasks.derive import derive, refusal
from forge.tasks.inject import functions_under_test, in_turn, inject
from forge.tasks.journal import Journal, Tried
from forge.tasks.plan import plan
from forge.tasks.prove import Prover, compare
from forge.tasks.statement import gold_lines, statement_of
from tests.small_repos import module, practice, suite

CONFIG = TasksConfig(proof_runs=2)
FILES = {"pkg/__init__.py": "", "pkg/apple.py": module("apple", "total"), "tests/test_apple.py": suite("apple")}
GOLD = FileEdit(path="pkg/apple.py", content=module("apple"))
TESTS = FileEdit(path="tests/test_apple.py", content=suite("apple"))


def candidate(trees: TreeStore, files: Mapping[str, str] = FILES, **fields: object) -> Candidate:
    tree = trees.put({path: content.encode() for path, content in files.items()})
    wrong = FileEdit(path="pkg/apple.py", content=files["pkg/apple.py"])
    known = {"repo": "small", "base_commit": "b" * 40, "origin": "commit", "title": None, "names": ("total_apple",), "tree": tree}
    return Candidate.model_validate({**known, "gold": (GOLD,), "old": (wrong,), "tests": (TESTS,), "visible": (TESTS,), **fields})


def proven(tmp_path: Path, made: Candidate, provider: FakeProvider | None = None) -> Task | Drop:
    prover = Prover(provider or FakeProvider(), TreeStore(tmp_path).folder, Limits(), runs=2, run_id="test")
    return asyncio.run(prover.prove(made, "train"))


def test_a_fix_is_proven_with_exact_ids_and_its_tests_are_hidden(tmp_path: Path) -> None:
    provider = FakeProvider()
    task = proven(tmp_path, candidate(TreeStore(tmp_path)), provider)
    assert isinstance(task, Task)
    assert task.fail_to_pass == ("tests/test_apple.py::test_total_apple",)
    assert task.pass_to_pass == ("tests/test_apple.py::test_highest_apple", "tests/test_apple.py::test_clamp_apple")
    assert task.proof is not None and task.proof.runs == 2 and task.proof.gold_passed and task.proof.noop_failed
    assert task.side == "train"
    (hidden,) = task.setup
    assert (
        hidden.path == "tests/test_apple.py"
        and "test_total_apple" not in (hidden.content or "")
        and "test_clamp_apple" in (hidden.content or "")
    )
    assert task.statement == "wrong result in total_apple\n>>> total_apple([1, 2, 3])\n6"
    assert [box.hash_seed for box in provider.opened] == [0, 0, 1, 1, 0]  # without gold, gold twice, without again, twins


def test_the_same_candidate_always_makes_the_same_task(tmp_path: Path) -> None:
    first, second = (proven(tmp_path, candidate(TreeStore(tmp_path))) for _ in range(2))
    assert isinstance(first, Task) and isinstance(second, Task)
    assert first.model_copy(update={"proof": None}) == second.model_copy(update={"proof": None})


@pytest.mark.parametrize(
    ("files", "gold", "reason"),
    [
        (FILES | {"pkg/apple.py": module("apple")}, GOLD, "no test fails only without gold"),
        (FILES, FileEdit(path="pkg/apple.py", content=module("apple", "total") + "X = 1\n"), "no test fails only without gold"),
        (FILES | {"pkg/apple.py": "raise ValueError\n"}, GOLD, "no test passes in both states"),
    ],
)
def test_what_running_does_not_prove_is_refused_with_the_reason(
    tmp_path: Path, files: Mapping[str, str], gold: FileEdit, reason: str
) -> None:
    made = proven(tmp_path, candidate(TreeStore(tmp_path), files, gold=(gold,)))
    assert isinstance(made, Drop)
    assert made.reason == reason


def run_of(complete: bool = True, **outcomes: str) -> TestRun:
    return TestRun.model_validate({"outcomes": outcomes, "complete": complete})


def test_flaky_ids_are_dropped_and_counted() -> None:
    before = [run_of(fix="failed", kept="passed", flaky="passed"), run_of(fix="error", kept="passed", flaky="failed")]
    after = [run_of(fix="passed", kept="passed", flaky="passed"), run_of(fix="passed", kept="passed", flaky="passed")]
    found = compare(before, after)
    assert (found.fail_to_pass, found.pass_to_pass, found.flaky) == ((), ("kept",), 2)
    steady = compare(before[:1], after)
    assert (steady.fail_to_pass, steady.pass_to_pass, steady.flaky) == (("fix",), ("kept", "flaky"), 0)


def test_skipped_tests_are_in_neither_list() -> None:
    found = compare([run_of(a="failed", b="passed", c="skipped")], [run_of(a="skipped", b="passed", c="passed")])
    assert (found.fail_to_pass, found.pass_to_pass) == ((), ("b",))


def test_statements_never_quote_gold() -> None:
    made = candidate_in_memory(title="use `result = sum(items) + 100` in the sum")
    assert "sum(items)" in "".join(gold_lines(made.old, made.gold))
    assert statement_of(made, ["tests/test_apple.py::test_total_apple"], {}).startswith("wrong result in total_apple")


def test_statements_without_simple_asserts_say_what_the_tests_said() -> None:
    made = candidate_in_memory(
        title="sums are wrong", tests=(FileEdit(path="tests/test_apple.py", content="def test_x():\n    check()\n"),)
    )
    said = statement_of(made, ["tests/test_apple.py::test_x"], {"tests/test_apple.py::test_x": "AssertionError: 7 is not 6\nmore"})
    assert said == "sums are wrong\nAssertionError: 7 is not 6"


def candidate_in_memory(**fields: object) -> Candidate:
    gold = FileEdit(path="pkg/apple.py", content=module("apple").replace("result = 0", "result = sum(items) + 100"))
    known = {"repo": "small", "base_commit": "b", "origin": "commit", "names": ("total_apple",), "tree": "t", "gold": (gold,)}
    wrong = FileEdit(path="pkg/apple.py", content=module("apple"))
    return Candidate.model_validate({**known, "old": (wrong,), "tests": (TESTS,), "visible": (TESTS,), **fields})


def test_planted_bugs_take_turns_and_never_repeat(tmp_path: Path) -> None:
    files = {path: content.encode() for path, content in (FILES | {"pkg/apple.py": module("apple")}).items()}
    (symbol, *_) = functions_under_test("pkg/apple.py", files, ["tests/test_apple.py"])
    turns = [list(inject("small", "h", "t", files, symbol, ["tests/test_apple.py"], 0, turn, 2)) for turn in (0, 1)]
    planted = [made.broken[0].content for turn in turns for made in turn]
    assert len(set(planted)) == len(planted) > 4
    assert all(made.gold[0].content == module("apple") for turn in turns for made in turn)
    operators = [made.operator for pair in zip(*turns, strict=False) for made in pair]
    assert len(set(operators[: len(set(operators))])) == len(set(operators))
    assert in_turn([], random.Random(0)) == []


def test_functions_that_no_test_mentions_get_no_bugs() -> None:
    files = {"pkg/apple.py": module("apple").encode(), "tests/test_apple.py": b"from pkg.apple import clamp_apple\n"}
    assert [symbol.name for symbol in functions_under_test("pkg/apple.py", files, ["tests/test_apple.py"])] == ["clamp_apple"]


def test_a_fix_commit_becomes_a_candidate_and_others_are_refused(tmp_path: Path) -> None:
    repo = practice(tmp_path / "repo")
    history = GitHistory("small", repo.path)
    reasons = {summary.message.splitlines()[0]: refusal(summary, CONFIG) for summary in history.summaries()}
    assert reasons["fix: total_apple gives a wrong number (#5)"] is None
    assert reasons["start of the package"] == "first commit"
    assert reasons["Merge branch 'side'"] == "merge"
    assert reasons["docs: say more"] == "no existing source modified"
    assert reasons["wip"] == "no tests changed"
    fix = next(s for s in history.summaries() if s.message.startswith("fix: total_apple"))
    commit = history.commit(fix)
    assert isinstance(commit, Commit)
    made = derive(commit, history.tree(commit.parents[0]), TreeStore(tmp_path / "trees"))
    assert isinstance(made, Candidate)
    assert made.title == "total_apple gives a wrong number"
    assert made.names == ("total_apple",)
    assert "test_total_apple" not in (made.visible[0].content or "") and "test_total_apple" in (made.tests[0].content or "")
    history.close()


def test_a_feature_whose_tests_cannot_even_be_imported_before_it_is_refused_without_a_run(tmp_path: Path) -> None:
    repo = practice(tmp_path / "repo")
    test = suite("apple") + "\n\nfrom pkg.apple import extra\n\n\ndef test_extra():\n    assert extra() == 1\n"
    repo.commit({"pkg/apple.py": module("apple") + "\n\ndef extra():\n    return 1\n", "tests/test_apple.py": test}, "add an extra")
    history = GitHistory("small", repo.path)
    commit = history.commit(next(history.summaries()))
    assert isinstance(commit, Commit)
    made = derive(commit, history.tree(commit.parents[0]), TreeStore(tmp_path / "trees"))
    history.close()
    assert made == Drop(sha=commit.sha, reason="tests import what only gold defines")
    assert not (tmp_path / "trees").exists()


def test_the_plan_puts_every_file_and_every_unit_on_one_side(tmp_path: Path) -> None:
    histories = [GitHistory(name, practice(tmp_path / name, tuple(f"m{n}" for n in range(8))).path) for name in ("near", "far")]
    planned = plan(histories, CONFIG, transfer={"far"})
    for history in histories:
        history.close()
    heldout = set(planned.heldout_files)
    assert {unit.side for unit in planned.units if unit.repo == "far"} == {"transfer"}
    assert all((unit.side == "heldout") == ((unit.repo, unit.path) in heldout) for unit in planned.units if unit.kind == "inject")
    for repo, path in heldout:
        stem = path.rsplit("/", 1)[-1].removesuffix(".py").removeprefix("test_")
        if stem.startswith("m"):
            assert {(repo, f"pkg/{stem}.py"), (repo, f"tests/test_{stem}.py")} <= heldout
    first_bugs = [unit.path for unit in planned.units if unit.kind == "inject" and unit.repo == "near"][:8]
    assert len(set(first_bugs)) == 8


def test_commits_tried_as_training_tasks_can_be_limited_and_the_other_sides_keep_theirs(tmp_path: Path) -> None:
    history = GitHistory("near", practice(tmp_path / "near", tuple(f"m{n}" for n in range(8))).path)

    def commits(limit: int | None) -> list[str]:
        units = plan([history], CONFIG.model_copy(update={"train_commits": limit})).units
        return sorted(unit.side for unit in units if unit.kind == "commit")

    free, limited = commits(None), commits(1)
    history.close()
    assert free.count("train") > 1 == limited.count("train")
    assert free.count("heldout") == limited.count("heldout") > 0


def attempts(tmp_path: Path, provider: FakeProvider) -> Attempts:
    repo = practice(tmp_path / "repo")
    trees = TreeStore(tmp_path / "trees")
    prover = Prover(provider, trees.folder, Limits(), runs=1, run_id="test")
    place = Place(path=str(repo.path), head=repo.git("rev-parse", "HEAD"))
    return Attempts({"small": place}, open_history, prover, trees, CONFIG, 0)


def test_every_fix_commit_and_most_functions_give_a_task(tmp_path: Path) -> None:
    trying = attempts(tmp_path, FakeProvider())
    history = GitHistory("small", tmp_path / "repo")
    units = plan([history], CONFIG).units
    history.close()

    async def all_of_them() -> list[Tried]:
        return [await trying.attempt(unit) for unit in units]

    ends = asyncio.run(all_of_them())
    trying.close()
    commits = [end for unit, end in zip(units, ends, strict=True) if unit.kind == "commit"]
    assert [end.refused for end in commits] == [{}] * 4
    tasks = [end.task for end in ends if end.task]
    assert len(tasks) == len({task.id for task in tasks}) > 20
    sides = {path: task.side for task in tasks for path in task.files}
    assert all(sides[path] == task.side for task in tasks for path in task.files)


class _NoSurroundings:
    """Every environment fails to build."""

    async def of(self, repo: str, *_: object) -> Drop:
        return Drop(sha=repo, reason="no environment: nothing builds")


@pytest.mark.parametrize(("soft", "tasks"), [(0, 0), (5, 1)])
def test_a_commit_whose_environment_does_not_build_is_a_soft_training_task_only_where_those_are_asked_for(
    tmp_path: Path, soft: int, tasks: int
) -> None:
    repo = practice(tmp_path / "repo")
    trees = TreeStore(tmp_path / "trees")
    place = Place(path=str(repo.path), head=repo.git("rev-parse", "HEAD"), own_environment=True)
    config = CONFIG.model_copy(update={"soft": soft})
    prover = Prover(FakeProvider(), trees.folder, Limits(), runs=1, run_id="test")
    trying = Attempts({"small": place}, open_history, prover, trees, config, 0, _NoSurroundings())  # type: ignore[arg-type]
    history = GitHistory("small", tmp_path / "repo")
    units = [unit for unit in plan([history], CONFIG).units if unit.kind == "commit"]
    history.close()
    ends = {unit.side: asyncio.run(trying.attempt(unit)) for unit in units}
    trying.close()
    assert ends["heldout"].task is None
    found = ends["train"].task
    assert (found is not None) == bool(tasks)
    assert ends["train"].refused == {"commit: no environment: nothing builds": 1}
    if found is not None:
        assert found.soft and found.proof is None and found.statement and found.side == "train" and found.commit
        gold = [line.strip() for edit in found.gold for line in (edit.content or "").splitlines()]
        assert not [line for line in gold if len(line) > 15 and line in found.statement]


def test_a_unit_whose_boxes_keep_failing_is_lost_not_refused(tmp_path: Path) -> None:
    trying = attempts(tmp_path, FakeProvider(broken=99))
    history = GitHistory("small", tmp_path / "repo")
    unit = plan([history], CONFIG).units[0]
    history.close()
    tried = asyncio.run(trying.attempt(unit))
    trying.close()
    assert tried.task is None and tried.refused == {}
    assert "told to fail" in tried.lost
    with pytest.raises(SandboxError):
        proven(tmp_path, candidate(TreeStore(tmp_path)), FakeProvider(broken=1))


def test_the_journal_survives_a_torn_line_and_starts_afresh_for_other_settings(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, "one", Tried)
    journal.add(Tried(key="a", task=None, refused={"x": 1}))
    journal.add(Tried(key="b", task=None))
    journal.close()
    path.write_text(path.read_text()[:-9])
    again = Journal(path, "one", Tried)
    assert list(again.tried) == ["a"]
    again.add(Tried(key="c", task=None))
    again.close()
    assert list(Journal(path, "one", Tried).tried) == ["a", "c"]
    assert Journal(path, "two", Tried).tried == {}
