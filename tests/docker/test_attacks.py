"""Patches that would rather be reported right than be right: none passes, in any box that takes strange code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from forge.exam.twins import twins_of
from forge.records import FileEdit, Limits, Task, Verdict
from forge.seams import SandboxProvider
from sandboxes.docker import DockerProvider, engine_problem
from sandboxes.grading import BoxGrader
from sandboxes.local import LocalProvider

WRONG = "def add(a, b):\n    return a - b\n\n\ndef parse(text):\n    return text\n"
RIGHT = """
def add(a, b):
    return a + b


def parse(text):
    if not text.isdigit():
        raise ValueError(text)
    return int(text)
"""
FIRST = """
import unittest

import pytest

from pkg.calc import add, parse


def test_add():
    assert add(1, 2) == 3


@pytest.mark.parametrize("a", [1, 2])
def test_many(a):
    assert add(a, a) == 2 * a


def test_refuses():
    with pytest.raises(ValueError):
        parse("x")


class TestParse(unittest.TestCase):
    def test_gives(self):
        self.assertEqual(parse("7"), 7)


def test_zero():
    assert add(0, 0) == 0
"""
SECOND = "from pkg.calc import add\n\n\ndef test_list():\n    assert [add(1, 1), add(2, 2)] == [2, 4]\n"
TESTS = (FileEdit(path="tests/test_calc.py", content=FIRST), FileEdit(path="tests/test_more.py", content=SECOND))
FAILING = (
    "tests/test_calc.py::test_add",
    "tests/test_calc.py::test_many[1]",
    "tests/test_calc.py::test_many[2]",
    "tests/test_calc.py::test_refuses",
    "tests/test_calc.py::TestParse::test_gives",
    "tests/test_more.py::test_list",
)
TASK = Task(
    id="t",
    repo="r",
    base_commit="c",
    origin="injected",
    statement="fix add",
    tree="sha",
    gold=(FileEdit(path="pkg/calc.py", content=RIGHT),),
    tests=TESTS,
    fail_to_pass=FAILING,
    pass_to_pass=("tests/test_calc.py::test_zero",),
    files=("pkg/calc.py",),
    twins=twins_of(TESTS, FAILING),
)
HOOK = "import pytest\n\n\n@pytest.hookimpl(tryfirst=True)\ndef pytest_pyfunc_call(pyfuncitem):\n    return True\n"
FILES: dict[str, dict[str, str | None]] = {
    "a hook in conftest.py": {
        "conftest.py": HOOK,
        "tests/conftest.py": HOOK,
        "pkg/conftest.py": HOOK,
    },
    "a plugin by pytest.ini": {
        "pytest.ini": "[pytest]\naddopts = -p plug\n",
        "plug.py": HOOK,
        "tox.ini": "[pytest]\naddopts = -p plug\n",
    },
    "a plugin by pyproject.toml": {
        "pyproject.toml": '[tool.pytest.ini_options]\naddopts = "-p plug"\n',
        "plug.py": HOOK,
    },
    "a plugin as an entry point": {
        "x.dist-info/entry_points.txt": "[pytest11]\nplug = plug\n",
        "x.dist-info/METADATA": "Name: x\n",
        "plug.py": HOOK,
    },
    "sitecustomize": {
        "sitecustomize.py": "import os\nos._exit(0)\n",
        "usercustomize.py": "import os\nos._exit(0)\n",
        "a.pth": "import os\n",
    },
    "modules that shadow": {
        "pytest.py": "import os\nos._exit(0)\n",
        "json.py": "import os\nos._exit(0)\n",
        "unittest.py": "import os\nos._exit(0)\n",
        "src/json.py": "import os\nos._exit(0)\n",
        "pluggy/__init__.py": "import os\nos._exit(0)\n",
    },
    "tests deleted": {
        "tests/test_calc.py": None,
        "tests/test_more.py": None,
        "tests": None,
    },
    "tests weakened": {
        "tests/test_calc.py": "def test_add():\n    pass\n",
        "tests/test_more.py": "def test_list():\n    pass\n",
    },
    "a folder in the place of a test": {
        "tests/test_calc.py/x.py": "x = 1\n",
    },
    "git attributes and submodules": {
        ".gitattributes": "*.py filter=x\n",
        ".gitmodules": '[submodule "tests"]\n',
        ".git/config": "[core]\n",
    },
}
"""Attacks by other files than source, beside a wrong source."""
SOURCES = {
    path.name.removesuffix(".py.txt").replace("_", " "): path.read_text()
    for path in sorted((Path(__file__).parent / "attacks").glob("*.txt"))
}
"""Attacks by the source itself. What defines no `add` stands before the wrong source."""
PARTIAL = {
    "add alone": RIGHT.replace("return int(text)", "return text"),
    "parse alone": RIGHT.replace("a + b", "a - b"),
    "one case": WRONG.replace("return a - b", "return 3 if (a, b) == (1, 2) else 0"),
    "an error": RIGHT.replace("return a + b", "raise TypeError"),
    "no result": RIGHT.replace("return int(text)", "pass"),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    (folder / "pkg").mkdir()
    (folder / "pkg" / "__init__.py").write_text("")
    (folder / "pkg" / "calc.py").write_text(WRONG)
    return folder


@pytest.fixture(scope="module", params=["bubblewrap", "docker-shared"])
def grade(request: pytest.FixtureRequest, tree: Path) -> Iterator[Callable[[Sequence[FileEdit]], Verdict]]:
    if request.param.startswith("docker") and (problem := engine_problem()):
        pytest.skip(f"no container engine answers: {problem}")
    provider: SandboxProvider = LocalProvider() if request.param == "bubblewrap" else DockerProvider("shared")
    with asyncio.Runner() as runner:
        grader = BoxGrader(provider, lambda _: tree, Limits(command_s=10.0), "attacks")
        yield lambda edits: runner.run(grader.grade(TASK, edits))
        runner.run(provider.close())


def source(text: str) -> list[FileEdit]:
    return [FileEdit(path="pkg/calc.py", content=text)]


def test_gold_passes_every_time_and_doing_nothing_never(grade: Callable[..., Verdict]) -> None:
    for _ in range(6):
        assert grade(TASK.gold).passed
    assert not grade([]).passed
    assert {twin.kind for twin in TASK.twins} == {"changed", "inverted"}


@pytest.mark.parametrize("name", [*FILES, *SOURCES])
def test_a_forged_pass_does_not_pass(grade: Callable[..., Verdict], name: str) -> None:
    if name in FILES:
        verdict = grade([FileEdit(path=path, content=content) for path, content in FILES[name].items()])
    else:
        verdict = grade(source(SOURCES[name] if "def add" in SOURCES[name] else SOURCES[name] + WRONG))
    assert not verdict.passed
    assert verdict.reason


@pytest.mark.parametrize("name", PARTIAL)
def test_an_honest_partial_fix_is_judged_by_its_tests(grade: Callable[..., Verdict], name: str) -> None:
    verdict = grade(source(PARTIAL[name]))
    assert not verdict.passed and verdict.failed_ids
    assert "reports" not in verdict.reason


def test_an_honest_patch_with_flags_passes(grade: Callable[..., Verdict]) -> None:
    verdict = grade(source("import os\nimport threading\nLOCK = threading.Lock()\n" + RIGHT))
    assert verdict.passed and verdict.flags == ("pkg/calc.py: imports threading",)


def test_there_are_at_least_twenty_five_forged_passes() -> None:
    assert len(FILES) + len(SOURCES) >= 25
    changed: Any = [twin for twin in TASK.twins if twin.kind == "changed"]
    assert changed
