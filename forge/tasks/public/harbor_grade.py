"""Runs inside a Harbor task's container: hidden tests over the work tree, exact ids, the reward as a number.

Standard library and pytest only. It shares its process with the code under test: the weaker kind of grading.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS, WORK, REWARD = Path("/tests"), Path("/testbed"), Path("/logs/verifier/reward.txt")


class Outcomes:
    """What each test did; a test that passed its call and failed its teardown has failed."""

    def __init__(self) -> None:
        self.failed: set[str] = set()
        self.passed: set[str] = set()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Called by pytest for each phase of each test."""
        if report.failed:
            self.failed.add(report.nodeid)
        elif report.when == "call" and report.passed:
            self.passed.add(report.nodeid)


def grade() -> int:
    """1 when every test of `ids.json` passed, else 0."""
    asked = json.loads((TESTS / "ids.json").read_text(encoding="utf-8"))
    for path in asked["absent"]:
        (WORK / path).unlink(missing_ok=True)
    shutil.copytree(TESTS / "files", WORK, dirs_exist_ok=True)
    os.chdir(WORK)
    sys.path.insert(0, str(WORK))
    outcomes = Outcomes()
    files = list(dict.fromkeys(name.partition("::")[0] for name in asked["ids"]))
    pytest.main(["-q", "-p", "no:cacheprovider", "--continue-on-collection-errors", f"--rootdir={WORK}", *files], plugins=[outcomes])
    return int(set(asked["ids"]) <= outcomes.passed - outcomes.failed)


if __name__ == "__main__":
    REWARD.parent.mkdir(parents=True, exist_ok=True)
    REWARD.write_text("0\n", encoding="utf-8")
    REWARD.write_text(f"{grade()}\n", encoding="utf-8")
