"""`forge tasks`: what is wrong with a command line or a repository is one sentence and exit code 2, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge.errors import HistoryError
from jobs import cli
from jobs.launching import preflight
from jobs.launching.launch import resolved
from tests.small_repos import SmallRepo


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["/nowhere"], "/nowhere is no folder; give REPO the path of a git repository"),
        (["/nowhere", "--bugs", "many"], "--bugs many is no range; write a number or LOW..HIGH"),
        (["/nowhere", "--bugs", "3..1"], "min_bugs=3 exceeds max_bugs=1"),
        (["/nowhere", "--failing", "0.2..0.1"], "min_failing=0.2 is not below max_failing=0.1"),
        (["/nowhere", "--distance", "far"], "inject.distance: Input should be 'function', 'module', 'repository' or 'mixed'"),
        (["inject.cuont=1", "/nowhere"], "unknown config key 'inject.cuont'; did you mean 'inject.count'?"),
        (["inject.count=1"], "no repository is given"),
        ([], "Missing argument 'REPO'"),
    ],
)
def test_bad_input_is_one_sentence(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["tasks", "inject", *argv])
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert said in captured.err and captured.err.count("\n") == 1


def test_repositories_without_python_or_without_tests_are_refused(tmp_path: Path) -> None:
    words, untested = SmallRepo(tmp_path / "words"), SmallRepo(tmp_path / "untested")
    words.commit({"README.md": "words\n"})
    untested.commit({"a.py": "def f():\n    return 1\n"})
    with pytest.raises(HistoryError, match="has no Python source at its head"):
        preflight.check_python([str(words.path)])
    with pytest.raises(HistoryError, match=r"has no pytest files \(test_\*\.py"):
        preflight.check_python([str(untested.path)])


def test_two_repositories_of_one_name_are_refused() -> None:
    with pytest.raises(HistoryError, match="/a/same and /b/same are both called same"):
        preflight.check_names(["/a/same", "/b/same"])


def test_a_command_line_becomes_a_configuration_whose_options_win(tmp_path: Path) -> None:
    config = resolved(["one", "inject.count=5", "two", "seed=3"], tmp_path / "out", ["tasks.max_files=9"], {"inject.count": 7, "seed": 1})
    assert config.history.repos == (str(Path("one").absolute()), str(Path("two").absolute()))
    assert (config.inject.count, config.seed, config.workspace_path) == (7, 1, tmp_path / "out")
    assert (config.history.practice.repositories, config.tasks.max_files) == (0, 9)
