"""`forge status` on the command line: a view, JSON, or one sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from forge.errors import WorkspaceError
from jobs import cli
from jobs.status.cli import newest_run
from tests.made_run import MadeRun


def run(*argv: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    made = MadeRun(tmp_path / "workspace" / "one")
    made.before_the_rounds()
    made.round(1, solved=9, why="first adapters: promoted")
    made.ledger.close()
    return made.root


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "nowhere does not exist; give the folder of a run"),
        ("file", "file is a file, not a folder"),
        ("empty", "empty holds no run of forge improve"),
        ("text", "ledger.db is no ledger of forge"),
        ("strange", "is not a configuration of this version of forge: unknown config key 'sed'; did you mean 'seed'?"),
    ],
)
def test_a_bad_workspace_is_one_sentence(name: str, said: str, workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for folder in ("text", "strange"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ledger.db").write_text("no database, but long enough to be looked at " * 30)
        (tmp_path / folder / "config.yaml").write_text("sed: 1\n" if folder == "strange" else "seed: 1\n")
    code, out, err = run("status", str(tmp_path / name), capsys=capsys)
    assert (code, out) == (2, "")
    assert err.startswith("forge: ") and said in err and err.count("\n") == 1


def test_watching_and_json_are_not_asked_for_together(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("status", str(workspace), "--watch", "--json", capsys=capsys)
    assert code == 2 and "choose one of them" in err


def test_the_view_and_the_json_say_the_same(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("status", str(workspace), capsys=capsys)
    assert code == 0 and "cold-start: first adapters: promoted" in out and "45%" in out
    code, out, _ = run("status", str(workspace), "--json", capsys=capsys)
    found = json.loads(out)
    assert code == 0
    assert (found["state"], found["steps"][1]["step"]["pass_at_1"], found["cost"]["rollouts"]) == (
        "stopped",
        0.45,
        {"failed": 30, "solved": 10},
    )


def test_watching_without_a_terminal_prints_lines_and_ends_with_the_run(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("status", str(workspace), "-w", capsys=capsys)
    assert code == 0 and out.count("\n") == 1 and out.startswith("ended between two phases")


def test_without_a_name_the_newest_run_is_shown(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = MadeRun(tmp_path / "workspace" / "two", ["name=other"])
    other.ledger.close()
    for name, age in (("one", 10), ("two", 1000)):
        for file in (tmp_path / "workspace" / name).glob("ledger.db*"):
            os.utime(file, (2_000_000_000 - age, 2_000_000_000 - age))
    monkeypatch.chdir(tmp_path)
    assert newest_run() == Path("workspace/one")
    assert run("status", capsys=capsys)[1].startswith("quickstart · seed 7")
    monkeypatch.chdir(workspace)
    with pytest.raises(WorkspaceError, match=r"no run under workspace/; start one with forge improve"):
        newest_run()
