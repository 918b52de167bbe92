"""Environments of other Pythons: built from wheels, run in every strong kind of box. Needs the package index."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from forge.errors import SandboxError, TaskError
from forge.records import Environment, EnvironmentSpec, Limits
from forge.seams import Sandbox, SandboxProvider
from sandboxes.confined import ConfinedProvider
from sandboxes.docker import DockerProvider, engine_problem
from sandboxes.environments import Shelf, interpreters
from sandboxes.local import LocalProvider

PYTHON = min(interpreters(), key=lambda version: int(version[2:]))
"""The oldest Python here: what works in it works in the others."""
SPEC = EnvironmentSpec(python=PYTHON, requirements=("pytest>=3.5", "six", "no-such-distribution-of-forge"), before="2023-12-01")
LIMITS = Limits(memory_bytes=512 * 2**20, pids=64, disk_bytes=16 * 2**20)
TEST = """
import os, sys
import pytest
import iniconfig
import pluggy
import six
from pkg.calc import add

def test_right():
    assert add(1, 2) == 3

def test_wrong():
    assert add(1, 2) == 4

@pytest.mark.parametrize("a", [1, "x y"])
def test_parametrized(a):
    assert add(a, a) == a * 2

def test_python():
    assert "{}.{}".format(*sys.version_info) == os.environ["VERSION"]

def test_own_module_of_a_name_that_pytest_imports():
    assert iniconfig.OURS and pluggy.OURS

def test_order(tmp_path):
    (tmp_path / "x").write_text("y")
    assert list({"a", "b", "c", "d", "e", "f"}) == 0
"""


@pytest.fixture(scope="module")
def environment() -> Environment:
    return Shelf().build(SPEC, ["src"])


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    (folder / "src" / "pkg").mkdir(parents=True)
    (folder / "src" / "pkg" / "__init__.py").write_text("")
    (folder / "src" / "pkg" / "calc.py").write_text("def add(a, b):\n    return a + b\n")
    for name in ("iniconfig", "pluggy"):
        (folder / "src" / f"{name}.py").write_text("OURS = True\n")
    (folder / "tests").mkdir()
    (folder / "tests" / "test_calc.py").write_text(TEST.replace('os.environ["VERSION"]', repr(PYTHON)))
    (folder / "tests" / "test_broken.py").write_text("import nowhere\n")
    return folder


@pytest.fixture(scope="module", params=["bubblewrap", "docker-shared", "docker-single"])
def do(request: pytest.FixtureRequest, environment: Environment, tree: Path) -> Iterator[Callable[..., Any]]:
    """Runs a body with a fresh box in the environment."""
    if request.param.startswith("docker") and (problem := engine_problem()):
        pytest.skip(f"no container engine answers: {problem}")
    makers: dict[str, Callable[[], SandboxProvider]] = {
        "bubblewrap": LocalProvider,
        "docker-shared": lambda: DockerProvider("shared"),
        "docker-single": lambda: DockerProvider("single"),
    }
    provider = makers[request.param]()
    with asyncio.Runner() as runner:

        def call(body: Callable[[Sandbox], Coroutine[Any, Any, Any]], hash_seed: int = 0) -> Any:
            async def whole() -> Any:
                box = await provider.open(tree, limits=LIMITS, run_id="environments", environment=environment, hash_seed=hash_seed)
                try:
                    return await body(box)
                finally:
                    await box.close()

            return runner.run(whole())

        yield call
        runner.run(provider.close())


def test_each_id_has_its_outcome_under_the_other_python(do: Callable[..., Any]) -> None:
    run = do(lambda box: box.run_tests(["tests/test_calc.py", "tests/test_broken.py"]))
    assert run.complete, run.reason
    assert run.outcomes == {
        "tests/test_calc.py::test_right": "passed",
        "tests/test_calc.py::test_wrong": "failed",
        "tests/test_calc.py::test_parametrized[1]": "passed",
        "tests/test_calc.py::test_parametrized[x y]": "passed",
        "tests/test_calc.py::test_python": "passed",
        "tests/test_calc.py::test_own_module_of_a_name_that_pytest_imports": "passed",
        "tests/test_calc.py::test_order": "failed",
        "tests/test_broken.py": "error",
    }
    assert "assert 3 == 4" in run.messages["tests/test_calc.py::test_wrong"]
    assert "nowhere" in run.messages["tests/test_broken.py"]


def test_exact_ids_run_alone(do: Callable[..., Any]) -> None:
    run = do(lambda box: box.run_tests(["tests/test_calc.py::test_parametrized[x y]", "tests/test_none.py::test_x"]))
    assert run.outcomes == {"tests/test_calc.py::test_parametrized[x y]": "passed", "tests/test_none.py::test_x": "missing"}


def test_hash_seeds_order_sets(do: Callable[..., Any]) -> None:
    runs = [do(lambda box: box.run_tests(["tests/test_calc.py::test_order"]), hash_seed=seed) for seed in (1, 2, 3, 1)]
    said = [run.messages["tests/test_calc.py::test_order"] for run in runs]
    assert said[0] == said[3]
    assert len(set(said)) > 1


def test_commands_see_the_environment_and_the_tree(do: Callable[..., Any]) -> None:
    result = do(
        lambda box: box.run(["python", "-c", "import sys, six, pkg.calc; print('%d.%d' % sys.version_info[:2], pkg.calc.add(1, 1))"])
    )
    assert (result.stdout, result.stderr) == (f"{PYTHON} 2\n", "")


def test_a_box_cannot_change_the_environment(do: Callable[..., Any], environment: Environment) -> None:
    code = "import os, sys; p = os.path.join(os.path.dirname(sys.executable), 'x'); open(p, 'w')"
    assert do(lambda box: box.run(["python", "-c", code])).exit_code == 1


def test_what_has_no_wheel_is_named(environment: Environment) -> None:
    assert environment.lacking == ("no-such-distribution-of-forge",)
    assert any(line.startswith("six==") for line in environment.installed)


def test_an_environment_comes_from_the_shelf_and_back_from_its_list(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf")
    built = shelf.build(SPEC, ["src"])
    record = Path(built.interpreter).parents[1] / "environment.json"
    before = record.stat().st_ino
    assert shelf.build(SPEC, ["src"]) == built and record.stat().st_ino == before
    record.unlink()
    assert shelf.find(built) == built and record.exists()
    assert shelf.bytes_used() > 0


def test_the_least_recently_used_environment_goes_when_the_shelf_is_full(tmp_path: Path) -> None:
    import os

    shelf = Shelf(tmp_path / "shelf", budget_bytes=0)
    old = shelf.build(SPEC)
    os.utime(Path(old.interpreter).parents[1] / "used", (0, 0))
    new = shelf.build(SPEC.model_copy(update={"before": "2023-12-02"}))
    assert not Path(old.interpreter).exists() and Path(new.interpreter).exists()


def test_a_python_that_is_not_here_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"no Python 3\.99 on this machine"):
        Shelf(tmp_path / "shelf").build(SPEC.model_copy(update={"python": "3.99"}))


def test_a_confined_box_takes_no_environment(environment: Environment, tree: Path) -> None:
    with asyncio.Runner() as runner, pytest.raises(SandboxError, match="install bubblewrap or Docker"):
        runner.run(ConfinedProvider().open(tree, limits=LIMITS, run_id="x", environment=environment))
