"""Questions whose tests want the packages of their repository: which environment the boxes get, and what is said when there is none."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Sequence
from pathlib import Path

import pytest

from forge.config import AgentConfig, SandboxConfig
from forge.errors import TaskError
from forge.fakes.sandbox import FakeProvider
from forge.fakes.tokenizer import FakeTokenizer
from forge.records import STAGES, CommandResult, Environment, EnvironmentSpec, Limits
from forge.rollouts.solve import FindSurroundings, Progress, Question, Solution, Solver
from jobs.solving.surroundings import TreeSurroundings
from tests.unit.test_rollouts import GOOD, RIGHT, TEST, _answers, tree  # noqa: F401  the fixture is one

SPEC = EnvironmentSpec(python="3.11", requirements=("pytest>=3.5",), before="2026-01-02")
OWN = Environment(id="py311-x", spec=SPEC, interpreter="/py", installed=("six==1", "pytest==8"), lacking=("odd",))


def _solved(folder: Path, provider: FakeProvider, surroundings: FindSurroundings | None, **question: object) -> tuple[Solution, list[str]]:
    async def models() -> dict[str, str]:
        return {stage: stage for stage in STAGES}

    told: list[Progress] = []
    solver = Solver(
        model=_answers(GOOD), tokenizers=dict.fromkeys(STAGES, FakeTokenizer()), models=models, provider=provider,
        agent=AgentConfig(prompt_style="brief"), sandbox=SandboxConfig(), max_answer_tokens=dict.fromkeys(STAGES, 500), run_id="x",
        surroundings=surroundings,
    )  # fmt: skip
    asked = Question.model_validate({"statement": "wrong result from total\n>>> total([1, 2])\n3", "test": "pytest -q", **question})
    return asyncio.run(solver.solve(folder, asked, told.append)), [progress.text for progress in told]


def _ran(_: Sequence[str], __: object) -> CommandResult:
    return CommandResult(exit_code=0, stdout="", stderr="", seconds=0.1)


async def _found(_: Path) -> Environment:
    return OWN


def test_visible_tests_and_the_command_run_in_the_environment_that_the_tree_asks_for(tree: Path) -> None:  # noqa: F811
    provider = FakeProvider(programs=_ran)
    solution, told = _solved(tree, provider, _found, environment="auto")
    assert solution.tested is not None and provider.environments == [OWN, OWN]
    assert "tests run under Python 3.11 with 2 packages; no wheel for odd" in told


def test_what_is_read_is_told_in_the_languages_that_it_is_written_in(tree: Path) -> None:  # noqa: F811
    _, told = _solved(tree, FakeProvider(programs=_ran), None)
    assert told[0] == "2 functions in 3 files of python"
    for file in tree.rglob("*.py"):
        file.unlink()
    (tree / "sum.go").write_text("package shop\n\nfunc Sum(a, b int) int {\n\treturn a - b\n}\n")
    assert _solved(tree, FakeProvider(programs=_ran), None)[1][0] == "1 function in 1 file of go"


def test_nobody_gets_an_environment_unasked(tree: Path) -> None:  # noqa: F811
    provider = FakeProvider(programs=_ran)
    _solved(tree, provider, _found)
    assert provider.environments == [None, None]


def test_an_environment_that_cannot_be_had_ends_the_question_with_the_reason(tree: Path) -> None:  # noqa: F811
    async def never(_: Path) -> Environment:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(TaskError, match="builds no environments"):
        _solved(tree, FakeProvider(), None, environment="auto")
    with pytest.raises(TaskError, match="was not ready after 0 s"):
        _solved(tree, FakeProvider(), never, environment="auto", seconds=0.01)


class Shelf:
    """Implements `forge.seams.Environments`; `missing` Pythons cannot be built."""

    def __init__(self, missing: Sequence[str] = ()) -> None:
        self.missing, self.built = missing, list[EnvironmentSpec]()

    def pythons(self) -> Sequence[str]:
        return ["3.12", "3.11"]

    def build(self, spec: EnvironmentSpec, roots: Sequence[str] = ()) -> Environment:
        if spec.python in self.missing:
            raise TaskError(f"no Python {spec.python} on this machine")
        self.built.append(spec)
        return OWN.model_copy(update={"spec": spec, "roots": tuple(roots), "id": f"py{spec.python}"})

    def find(self, environment: Environment) -> Environment:
        return environment


def _surroundings(shelf: Shelf, folder: Path, *, trusted_only: bool = False) -> TreeSurroundings:
    provider = FakeProvider(trusted_only=trusted_only)
    now = datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC)
    return TreeSurroundings(lambda: shelf, provider, Limits(), folder=folder, run_id="x", now=lambda: now)


def _project(tree: Path, tests: str) -> Path:  # noqa: F811
    (tree / "pyproject.toml").write_text(
        '[project]\nname = "shop"\ndependencies = ["six"]\nclassifiers = ["Programming Language :: Python :: 3.11"]\n'
    )
    (tree / "shop/cart.py").write_text(RIGHT)
    (tree / "tests").mkdir(exist_ok=True)
    (tree / "tests/test_cart.py").write_text(tests)
    return tree


def test_a_tree_gets_the_python_and_the_packages_that_it_declares_as_of_today(tree: Path, tmp_path: Path) -> None:  # noqa: F811
    shelf = Shelf()
    found = asyncio.run(_surroundings(shelf, tmp_path / "kept")(_project(tree, TEST)))
    assert (found.spec.python, found.spec.before) == ("3.11", "2026-11-29") and "six" in found.spec.requirements
    tried = len(shelf.built)
    asyncio.run(_surroundings(shelf, tmp_path / "kept")(tree))
    assert len(shelf.built) == tried + 1, "which Python fits is known; its environment is asked of the shelf again"


def test_a_tree_without_tests_that_run_is_refused_in_words_and_looked_at_anew_next_time(tree: Path, tmp_path: Path) -> None:  # noqa: F811
    find = _surroundings(Shelf(), tmp_path / "kept")
    with pytest.raises(TaskError, match=r"gets no environment of its own \(no test runs in any environment\); ask with --environment none"):
        asyncio.run(find(_project(tree, "def test_x():\n    assert False\n")))
    assert asyncio.run(find(_project(tree, TEST))).spec.python == "3.11"
    with pytest.raises(TaskError, match="no Python 3"):
        asyncio.run(_surroundings(Shelf(["3.11", "3.12"]), tmp_path / "other")(tree))


def test_a_box_that_can_hold_no_environment_says_so_before_anything_is_built(tree: Path, tmp_path: Path) -> None:  # noqa: F811
    shelf = Shelf()
    with pytest.raises(TaskError, match="boxes of kind fake hold no environment; install bubblewrap or Docker"):
        asyncio.run(_surroundings(shelf, tmp_path, trusted_only=True)(tree))
    assert shelf.built == []
