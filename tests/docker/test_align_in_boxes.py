"""What a base answers, run in real boxes: right answers are kept, wrong ones, vacuous tests and forged passes are not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from forge.config import AlignConfig
from forge.mining.align.aligner import PASSED, Aligner, Ended, works
from forge.mining.align.seeds import Seed
from forge.records import Limits, Lineage
from forge.seams import SandboxProvider
from sandboxes.docker import DockerProvider, engine_problem
from sandboxes.grading import BoxGrader
from sandboxes.local import LocalProvider
from tests import aligned as made


class Bench(Protocol):
    def __call__(self, base: made.Base, *, seed: str = "function") -> Ended: ...


def seed_of(number: int) -> Seed:
    return Seed(id=f"shop@{number}", source=made.source("double"), licence="MIT", age="2020", lineage=Lineage(repo="shop", commit="c"))


SEEDS = {"function": seed_of(2), "class": seed_of(5)}
"""Categories are drawn by a seed's id: these ids draw them."""


@pytest.fixture(scope="module", params=["bubblewrap", "docker-shared"])
def align(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    if request.param.startswith("docker") and (problem := engine_problem()):
        pytest.skip(f"no container engine answers: {problem}")
    provider: SandboxProvider = LocalProvider() if request.param == "bubblewrap" else DockerProvider("shared")
    nothing: Path = tmp_path_factory.mktemp("nothing")
    config = AlignConfig(answers=2)
    with asyncio.Runner() as runner:

        def aligned(base: made.Base, *, seed: str = "function") -> Ended:
            (work,) = works([SEEDS[seed]], config, "full", 0)
            grader = BoxGrader(provider, lambda _: nothing, Limits(command_s=8.0), "align")
            return runner.run(Aligner(base, grader, config).align(work))

        yield aligned
        runner.run(provider.close())


@pytest.mark.parametrize("category", SEEDS)
def test_a_right_answer_is_kept_and_a_wrong_one_beside_it_is_not(category: str, align: Bench) -> None:
    right = made.CLASS if category == "class" else made.RIGHT
    found = align(made.Base([right.replace("result = 0", "result = 1"), right]), seed=category)
    assert not found.masked and found.answers == {PASSED: 1, "its own tests do not pass": 1}
    assert found.aligned is not None and found.aligned.category == category and "result = 0" in found.aligned.code


@pytest.mark.parametrize(
    ("code", "tests", "reason"),
    [
        (made.RIGHT, made.VACUOUS, "its tests pass for code that does nothing"),
        ("def {name}(values):\n    while True:\n        values = values", made.TESTS, "its own tests do not pass"),
        ("import os\n\n\ndef {name}(values):\n    values = 0\n    os._exit(values)", made.TESTS, "its own tests do not pass"),
        ("def {name}(values):\n    with open('/etc/hostname', 'w') as file:\n        file.write('x')\n    return sum(values)", made.TESTS,
         "its own tests do not pass"),
    ],
    ids=["vacuous tests", "runs for ever", "ends with success", "writes where it may not"],
)  # fmt: skip
def test_what_does_not_prove_itself_is_counted(code: str, tests: str, reason: str, align: Bench) -> None:
    found = align(made.Base(code, tests))
    assert (found.aligned, found.masked, found.answers) == (None, "", {reason: 2})


def test_an_object_that_equals_everything_is_found_out(align: Bench) -> None:
    equal = "{{'__eq__': lambda a, b: True, '__hash__': None}}"
    found = align(made.Base(f"def {{name}}(values):\n    assert values is not None\n    return type('Any', (int,), {equal})(0)"))
    assert (found.aligned, found.answers) == (None, {"its tests pass in versions that must fail": 2})
