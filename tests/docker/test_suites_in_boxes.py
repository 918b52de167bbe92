# ruff: noqa: E501
"""Answers to public suites in real boxes: right ones pass, wrong ones fail, and what an answer does beside that does nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from forge.evals.suites.examiner import Assigned, Examiner, Proven, Reply
from forge.evals.suites.problem import Problem, Sample, UnitTests
from forge.evals.suites.registry import SUITES, problems
from forge.records import Limits, Message
from forge.seams import Grader, SandboxProvider
from sandboxes.docker import DockerProvider, engine_problem
from sandboxes.grading import BoxGrader
from sandboxes.local import LocalProvider
from tests import suite_rows


class Bench:
    """An examiner whose model says what it is told."""

    def __init__(self, provider: SandboxProvider, runner: asyncio.Runner) -> None:
        self._said, self._runner = "", runner

        async def ask(messages: Sequence[Message], seed: int) -> Reply:
            return Reply(text=self._said)

        def grader(limits: Limits, nothing: Path) -> Grader:
            return BoxGrader(provider, lambda _: nothing, limits, "suites")

        self.examiner = Examiner(ask, provider, grader, memory_bytes=256 * 2**20, retries=1)

    def prove(self, problem: Problem) -> Proven:
        return self._runner.run(self.examiner.prove(problem))

    def proven(self, problem: Problem) -> Problem:
        found = self.prove(problem)
        assert found.problem is not None, found
        return found.problem

    def __call__(self, problem: Problem, said: str) -> Sample:
        self._said = said
        return self._runner.run(self.examiner.examine(Assigned(key="k", problem=problem, sample=0, seed=0)))


@pytest.fixture(scope="module", params=["bubblewrap", "docker-shared"])
def examine(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.param.startswith("docker") and (problem := engine_problem()):
        pytest.skip(f"no container engine answers: {problem}")
    provider: SandboxProvider = LocalProvider() if request.param == "bubblewrap" else DockerProvider("shared")
    with asyncio.Runner() as runner:
        bench = Bench(provider, runner)
        yield bench
        runner.run(bench.examiner.close())


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Suites whose examinations are cut after a fraction of a second; there is no seam, since the time is the suite's own."""
    for name in ("humaneval", "livecodebench"):
        monkeypatch.setitem(SUITES, name, SUITES[name].__class__(**{**vars(SUITES[name]), "seconds": 0.2}))


def problem(name: str, **changed: object) -> Problem:
    return problems(SUITES[name], [suite_rows.ROWS[name](**changed)], "rows")[0]


def passed(sample: Sample) -> bool:
    assert sample.score is not None and not sample.masked, sample.masked
    return sample.score.passed


@pytest.mark.parametrize("name", SUITES)
def test_the_own_solution_and_right_answers_pass_and_wrong_ones_fail(name: str, examine: Bench) -> None:
    proven = examine.proven(problem(name))
    if isinstance(proven.exam, UnitTests):
        assert {twin.kind for twin in proven.exam.task.twins} == {"changed", "inverted"}
    assert passed(examine(proven, suite_rows.RIGHT[name]))
    assert not passed(examine(proven, suite_rows.WRONG[name]))


def test_a_solution_that_fails_here_leaves_its_problem_out(examine: Bench) -> None:
    broken = problem("bigcodebench", canonical_solution="    import a_library_that_nobody_has\n")
    found = examine.prove(broken)
    assert found.problem is None and "No module named 'a_library_that_nobody_has'" in found.refused


def test_methods_are_called_with_values_and_noise_on_standard_output_is_none_of_it(examine: Bench) -> None:
    call = problems(SUITES["livecodebench"], [suite_rows.livecodebench_call()], "rows")[0]
    right = "class Solution:\n    def pairs(self, values, step):\n        print('noise')\n        return [list(p) for p in zip(values, values[step:])]"
    assert passed(examine(call, right))
    assert passed(examine(call, "pairs = lambda values, step: tuple([a, b] for a, b in zip(values, values[step:]))"))
    assert not passed(examine(call, "pairs = lambda values, step: [(a, b) for a, b in zip(values, values[step:])]"))


FORGERIES = {
    "ends with success": "import os\nos._exit(0)\n",
    "raises SystemExit": "import sys\nsys.exit(0)\n",
    "equals everything": "class Any(int):\n    def __eq__(self, other):\n        return True\n    __hash__ = int.__hash__\n\n\ndef total(values):\n    return Any(0)\n",
    "patches assertions": "import _pytest.runner\n_pytest.runner.pytest_runtest_call = lambda item: None\n\n\ndef total(values):\n    return None\n",
    "replaces the test": "import sys\n\n\ndef total(values):\n    frame = sys._getframe(1)\n    frame.f_globals['test_check'] = lambda: None\n    return 3\n",
    "prints a report": "print('1 passed')\n\n\ndef total(values):\n    print('PASSED')\n    return 3\n",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_an_answer_that_would_rather_be_reported_right_is_not(forgery: str, examine: Bench) -> None:
    proven = examine.proven(problem("humaneval"))
    assert not passed(examine(proven, f"```python\ndef total(values):\n    return 0\n\n\n{FORGERIES[forgery]}```"))


def test_without_twins_an_object_that_equals_everything_would_pass(examine: Bench) -> None:
    proven = examine.proven(problem("humaneval"))
    assert isinstance(proven.exam, UnitTests)
    bare = proven.exam.task.model_copy(update={"twins": ()})
    unguarded = proven.model_copy(update={"exam": proven.exam.model_copy(update={"task": bare})})
    said = f"```python\n{FORGERIES['equals everything']}```"
    assert passed(examine(unguarded, said)) and not passed(examine(proven, said))


@pytest.mark.parametrize(
    ("ending", "right"),
    [("", True), ("import sys; sys.exit(1)", True), ("import os; os._exit(3)", False), ("raise ValueError('no')", False)],
)
def test_a_program_is_judged_by_what_it_printed_and_by_how_it_ended(ending: str, right: bool, examine: Bench) -> None:
    sample = examine(problem("livecodebench"), f"n = input()\nprint(sum(map(int, input().split())), flush=True)\n{ending}\n")
    assert passed(sample) is right and sample.score
    assert right or sample.score.reason.endswith(("exit code 3", "ValueError: no"))


def test_a_flood_of_output_is_cut(examine: Bench) -> None:
    score = examine(problem("livecodebench"), "while True:\n    print('x' * 10**6)\n").score
    assert score is not None and not score.passed and "output limit" in score.reason


def test_no_expected_output_is_in_a_box_that_runs_programs(examine: Bench) -> None:
    secret = "a-very-particular-output"
    tests = f'[{{"input": "1", "output": "{secret}", "testtype": "stdin"}}]'
    hidden = problem("livecodebench", public_test_cases=tests, private_test_cases=tests)
    search = """
import os
word = "-".join(["a", "very", "particular", "output"])
for folder, _, files in os.walk("."):
    for name in files:
        if word in open(os.path.join(folder, name), errors="replace").read():
            print(word)
for process in filter(str.isdigit, os.listdir("/proc")):
    for name in ("cmdline", "environ"):
        try:
            if word in open(f"/proc/{process}/{name}", errors="replace").read():
                print(word)
        except OSError:
            pass
"""
    sample = examine(hidden, search)
    assert not passed(sample) and sample.score and sample.score.reason.startswith("case 1 of 2: line 1 is ''")


def test_an_endless_loop_is_cut(short: None, examine: Bench) -> None:
    for name, said in (("humaneval", "def total(values):\n    while True:\n        pass\n"), ("livecodebench", "while True:\n    pass\n")):
        score = examine(problem(name), said).score
        assert score is not None and not score.passed and "time limit" in score.reason


@pytest.mark.parametrize("name", ["humaneval", "livecodebench"])
def test_a_fork_bomb_ends_with_its_box(name: str, short: None, examine: Bench) -> None:
    before = set(processes())
    bomb = "import os\nwhile True:\n    os.fork()\n"
    assert not passed(examine(problem(name), bomb + "\n\ndef total(values):\n    return sum(values)\n"))
    # What came up meanwhile is somebody else's unless it is a bomb's own Python in a box.
    assert [pid for pid in set(processes()) - before if b"answer.py" in cmdline(pid) or b"run_case.py" in cmdline(pid)] == []


def test_memory_is_bounded(examine: Bench) -> None:
    assert not passed(
        examine(problem("livecodebench"), "x = bytearray(2 * 2**30)\nfor i in range(0, len(x), 4096):\n    x[i] = 1\nprint(3)\n")
    )


def test_there_is_no_network(examine: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        said = f"import socket\ntry:\n    socket.create_connection(('127.0.0.1', {port}), 1)\n    print('connected')\nexcept OSError:\n    print(sum(map(int, open(0).read().split()[1:])))\n"
        assert passed(examine(problem("livecodebench"), said)), "the connection is refused and the sum is printed"
        with pytest.raises(TimeoutError):
            server.accept()


def test_nothing_outside_the_box_is_written(tmp_path: Path, examine: Bench) -> None:
    places = [
        str(tmp_path / "left"),
        "/tmp/forge-suite-left",
        os.path.expanduser("~/forge-suite-left"),
        os.path.join(sys.prefix, "forge-suite-left"),
    ]
    writes = f"""
import os
for place in {places!r}:
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        open(place, "w").write("left")
    except OSError:
        pass
"""
    assert passed(examine(problem("livecodebench"), writes + "print(sum(map(int, open(0).read().split()[1:])))\n"))
    assert passed(examine(problem("humaneval"), f"{writes}\n\ndef total(values):\n    return sum(values)\n"))
    assert [place for place in places if os.path.exists(place)] == []


def processes() -> list[int]:
    return [int(name) for name in subprocess.run(["ps", "-eo", "pid="], capture_output=True, text=True).stdout.split()]


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
