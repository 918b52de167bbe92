"""Grades, verdict keys, which edits count, and which sandbox is picked."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.errors import EnvironmentLackError, SandboxError
from forge.fakes.sandbox import FakeProvider
from forge.records import FileEdit, Limits, Task, Verdict
from forge.seams import Sandbox, SandboxProvider
from sandboxes import pick as picking
from sandboxes.confined import ConfinedProvider
from sandboxes.grading import BoxGrader, make_exam, verdict_key
from sandboxes.inside.judging import judge
from sandboxes.local import LocalProvider
from sandboxes.paths import Look, graded_edits, is_dropped, look_into, plain_path

NOTHING_THERE: Look = lambda _: ""  # noqa: E731
GOLD = FileEdit(path="pkg/calc.py", content="def add(a, b):\n    return a + b\n")
TESTS = FileEdit(
    path="tests/test_calc.py",
    content="from pkg.calc import add\n\ndef test_add():\n    assert add(1, 2) == 3\n\ndef test_zero():\n    assert add(0, 0) == 0\n",
)


@functools.cache
def _found() -> dict[str, picking.Finding]:
    return {finding.kind: finding for finding in picking.probe()}


def _need(kind: str) -> None:
    finding = _found().get(kind)
    if finding is not None and not finding.found:
        pytest.skip(f"{finding.detail}; {finding.cure}")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    (tmp_path / "pkg" / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    return tmp_path


@pytest.fixture
def task() -> Task:
    return Task(
        id="t",
        repo="r",
        base_commit="c",
        origin="injected",
        statement="fix add",
        tree="sha",
        gold=(GOLD,),
        tests=(TESTS,),
        fail_to_pass=("tests/test_calc.py::test_add",),
        pass_to_pass=("tests/test_calc.py::test_zero",),
        files=("pkg/calc.py",),
    )


@pytest.fixture(params=["fake", "bubblewrap", "confined"])
def grade(request: pytest.FixtureRequest, tree: Path) -> Iterator[Callable[..., Verdict]]:
    makers: dict[str, Callable[[], SandboxProvider]] = {"fake": FakeProvider, "bubblewrap": LocalProvider, "confined": ConfinedProvider}
    _need(request.param)
    provider = makers[request.param]()
    with asyncio.Runner() as runner:
        grader = BoxGrader(provider, lambda _: tree, Limits(), "grades")
        yield lambda task, *edits: runner.run(grader.grade(task, edits))
        runner.run(provider.close())


def test_gold_passes_and_doing_nothing_fails(grade: Callable[..., Verdict], task: Task) -> None:
    assert grade(task, GOLD).passed
    nothing = grade(task)
    assert not nothing.passed
    assert nothing.failed_ids == ("tests/test_calc.py::test_add",)
    assert "test_add failed" in nothing.reason


def test_an_edit_of_the_tests_does_not_count(grade: Callable[..., Verdict], task: Task) -> None:
    weakened = FileEdit(path="tests/test_calc.py", content="def test_add():\n    pass\n\ndef test_zero():\n    pass\n")
    verdict = grade(task, weakened, FileEdit(path="tests/test_calc.py", content=None))
    assert not verdict.passed
    assert "ignored edits of tests/test_calc.py" in verdict.reason


def test_an_edit_of_test_configuration_does_not_count(grade: Callable[..., Verdict], task: Task) -> None:
    hook = "def pytest_pyfunc_call(pyfuncitem):\n    return True\n"
    edits = [FileEdit(path=path, content=hook) for path in ("conftest.py", "pkg/conftest.py", "sitecustomize.py", "pytest.py")]
    assert not grade(task, *edits).passed


def test_a_syntax_error_is_a_failed_grade_not_an_infrastructure_error(grade: Callable[..., Verdict], task: Task) -> None:
    assert not grade(task, FileEdit(path="pkg/calc.py", content="def add(:\n")).passed


@pytest.mark.parametrize("name", ["bubblewrap", "confined"])
@pytest.mark.parametrize(
    "attack",
    [
        "import os\nos._exit(0)\n",
        "import atexit, os\natexit.register(lambda: os._exit(0))\ndef add(a, b):\n    return a - b\n",
        "import sys\nsys.exit(0)\n",
        "import os, threading\nthreading.Thread(target=lambda: os._exit(0)).start()\ndef add(a, b):\n    import time\n    time.sleep(1)\n",
        "import os\nfor fd in range(3, 600):\n  try: os.write(fd, b'{\"end\": 0}\\n')\n  except OSError: pass\ndef add(a, b): return 0\n",
        "def add(a, b):\n    raise KeyboardInterrupt\n",
        "import pytest\npytest.skip('no', allow_module_level=True)\n",
        "import pytest\ndef add(a, b):\n    pytest.skip('no')\n",
        "def add(a, b):\n    import pytest\n    pytest.exit('bye', returncode=0)\n",
    ],
)
def test_source_that_ends_the_run_early_does_not_pass(tree: Path, task: Task, name: str, attack: str) -> None:
    _need(name)
    provider: SandboxProvider = LocalProvider() if name == "bubblewrap" else ConfinedProvider()

    async def attempt() -> Verdict:
        try:
            grader = BoxGrader(provider, lambda _: tree, Limits(command_s=8.0), "attack")
            return await grader.grade(task, [FileEdit(path="pkg/calc.py", content=attack)])
        finally:
            await provider.close()

    verdict = asyncio.run(attempt())
    assert not verdict.passed
    assert verdict.reason


KILLER = FileEdit(path="pkg/__init__.py", content="import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")


@pytest.mark.parametrize("kills", [1, 2])
@pytest.mark.parametrize("name", ["bubblewrap", "confined"])
def test_a_run_that_somebody_kills_is_held_once_more(tree: Path, task: Task, name: str, kills: int) -> None:
    _need(name)
    provider: SandboxProvider = LocalProvider() if name == "bubblewrap" else ConfinedProvider()
    opened = 0
    really_open = provider.open

    async def open_and_kill(*args: Any, **named: Any) -> Sandbox:
        nonlocal opened
        box, opened = await really_open(*args, **named), opened + 1
        if opened <= kills:
            await box.write([KILLER])
        return box

    async def attempt() -> Verdict:
        try:
            provider.open = open_and_kill  # type: ignore[method-assign]
            return await BoxGrader(provider, lambda _: tree, Limits(), "killed").grade(task, [GOLD])
        finally:
            await provider.close()

    verdict = asyncio.run(attempt())
    assert (verdict.passed, opened) == (kills == 1, 2), verdict.reason
    assert verdict.passed or "status 137" in verdict.reason


def test_a_box_that_cannot_be_made_is_an_infrastructure_error(tree: Path, task: Task) -> None:
    grader = BoxGrader(FakeProvider(broken=1), lambda _: tree, Limits(), "broken")
    with pytest.raises(SandboxError):
        asyncio.run(grader.grade(task, [GOLD]))
    assert asyncio.run(grader.grade(task, [GOLD])).passed


def test_a_task_without_tests_is_graded_by_its_overlap_with_gold_weakly_and_without_a_box(tree: Path, task: Task) -> None:
    provider = FakeProvider()
    grader = BoxGrader(provider, lambda _: tree, Limits(), "soft")
    soft = task.model_copy(update={"fail_to_pass": (), "pass_to_pass": (), "twins": (), "gold": (GOLD,)})
    right, wrong = (asyncio.run(grader.grade(soft, edits)) for edits in ([GOLD], [TESTS]))
    assert right.passed and right.weak and right.reason.startswith("100% of the")
    assert not wrong.passed and wrong.weak and "no test was run" in wrong.reason
    assert provider.opened == []


def test_every_box_of_a_grade_is_closed(tree: Path, task: Task) -> None:
    provider = FakeProvider()
    asyncio.run(BoxGrader(provider, lambda _: tree, Limits(), "closed").grade(task, [GOLD]))
    (box,) = provider.opened
    with pytest.raises(SandboxError):
        asyncio.run(box.read("pkg/calc.py"))


def test_files_of_an_exam_are_set_up_then_patch_then_hidden_tests(task: Task) -> None:
    setup = FileEdit(path="pkg/calc.py", content="broken")
    exam = make_exam(task.model_copy(update={"setup": (setup,)}), [GOLD, TESTS], NOTHING_THERE, random.Random(0))
    assert exam.files == (setup, GOLD, TESTS)
    assert exam.dropped == ("tests/test_calc.py",)


def test_a_verdict_key_depends_on_what_the_verdict_depends_on_and_on_nothing_else(task: Task) -> None:
    key = verdict_key(task, [GOLD])
    assert key == verdict_key(task.model_copy(update={"statement": "other", "side": "train"}), [GOLD])
    assert key == verdict_key(task, [FileEdit(path="conftest.py", content="x"), FileEdit(path="pkg/calc.py", content="y"), GOLD])
    assert key != verdict_key(task, [])
    assert key != verdict_key(task.model_copy(update={"pass_to_pass": ()}), [GOLD])
    assert key != verdict_key(task.model_copy(update={"tree": "other"}), [GOLD])


@pytest.mark.parametrize(
    "path",
    [
        "conftest.py",
        "a/conftest.py",
        "pytest.ini",
        "setup.cfg",
        "pyproject.toml",
        "tox.ini",
        "sitecustomize.py",
        "usercustomize.py",
        "x.pth",
        "a.dist-info/entry_points.txt",
        ".git/config",
        ".gitattributes",
        "json.py",
        "pytest.py",
        "_pytest/x.py",
        "src/json.py",
        "tests/helper.py",
        "a/tests/b.py",
        "test_x.py",
        "x_test.py",
        "a/__pycache__/b.pyc",
        "b.so",
        "../x",
        "/abs",
        "a//b",
    ],
)
def test_paths_that_could_change_how_tests_run_are_dropped(path: str) -> None:
    assert is_dropped(path, NOTHING_THERE)


@pytest.mark.parametrize(
    "path", ["pkg/calc.py", "pkg/json.py", "src/pkg/mod.py", "README.md", "pkg/testing.py", "latest.py", "contest_a.py"]
)
def test_source_is_not_dropped(path: str) -> None:
    assert not is_dropped(path, NOTHING_THERE)


def test_what_the_tree_has_already_is_source_but_folders_and_links_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "src" / "pkg").mkdir(parents=True)
    (tmp_path / "src" / "json.py").write_text("")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    look = look_into(tmp_path)
    assert not is_dropped("src/json.py", look) and is_dropped("json.py", look)
    assert is_dropped("src/pkg", look) and is_dropped("link", look) and is_dropped("link/a.py", look)


@given(st.lists(st.sampled_from(["a.py", "b/c.py", "conftest.py", "tests/test_a.py", "../x"])))
def test_every_edit_is_either_kept_or_named_as_dropped(paths: list[str]) -> None:
    edits = [FileEdit(path=path, content=str(number)) for number, path in enumerate(paths)]
    kept, dropped = graded_edits(edits, {"b/c.py"}, NOTHING_THERE)
    assert [edit.path for edit in kept] == [path for path in paths if path == "a.py"]
    assert len(kept) + len(dropped) == len(edits)


@given(st.text(max_size=20))
def test_a_plain_path_stays_below_any_folder(path: str) -> None:
    if plain_path(path):
        assert not path.startswith("/")
        assert (Path("/root") / path).resolve().is_relative_to("/root")


IDS = ["t.py::a", "t.py::b"]
GOOD = b'{"collected": ["t.py::a", "t.py::b"], "token": "k"}\n{"id": "t.py::a", "outcome": "passed", "message": "", "token": "k"}\n'
LAST = b'{"id": "t.py::b", "outcome": "failed", "message": "no", "line": 7, "token": "k"}\n'
END = b'{"end": 1, "token": "k"}\n'


def test_a_whole_run_is_complete() -> None:
    verdict = judge(IDS, GOOD + LAST + END, "k", 1)
    assert verdict == {
        "outcomes": {"t.py::a": "passed", "t.py::b": "failed"},
        "complete": True,
        "reason": "",
        "messages": {"t.py::b": "no"},
        "lines": {"t.py::b": 7},
    }


@pytest.mark.parametrize(
    ("events", "status", "word"),
    [
        (GOOD + LAST, 1, "ended early"),
        (GOOD + LAST + END, 0, "exited with 0"),
        (GOOD + LAST + LAST + END, 1, "two outcomes"),
        (GOOD + END, 1, "no outcome"),
        (GOOD + LAST + END + LAST, 1, "malformed"),
        (GOOD + LAST + END + END, 1, "malformed"),
        (GOOD + LAST + END.replace(b'"k"', b'"x"'), 1, "malformed"),
        (GOOD + GOOD + LAST + END, 1, "collected twice"),
        (b"PASSED t.py::a\n" + GOOD + LAST + END, 1, "malformed"),
        (GOOD.replace(b'"t.py::b"]', b'"t.py::b", "u.py::c"]') + LAST + END, 1, "not asked for"),
        (b"", 0, "ended early"),
    ],
)
def test_every_doubt_makes_a_run_incomplete(events: bytes, status: int, word: str) -> None:
    verdict = judge(IDS, events, "k", status)
    assert not verdict["complete"]
    assert word in verdict["reason"]


def test_the_probe_names_every_kind_and_the_cure_of_each_lack() -> None:
    findings = list(_found().values())
    assert [finding.kind for finding in findings] == ["docker", "bubblewrap", "confined"]
    assert all(finding.found or finding.cure for finding in findings)


def test_what_is_picked_can_open_a_box_and_says_why(tree: Path) -> None:
    choice = picking.pick("auto")
    assert choice.why

    async def attempt() -> Any:
        provider = choice.make()
        try:
            box = await provider.open(tree, limits=Limits(), run_id="picked")
            return await box.run(["echo", "hi"])
        finally:
            await provider.close()

    assert asyncio.run(attempt()).stdout == "hi\n"


def test_a_demanded_sandbox_that_is_missing_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentLackError, match=r"sandbox.kind is 'bubblewrap', but bubblewrap is not installed; install the package"):
        picking.pick("bubblewrap")
