"""The command line: what is wrong is one sentence and exit code 2, before anything starts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from forge.config import load
from forge.errors import EnvironmentLackError, HistoryError
from forge.fakes.sandbox import FakeProvider
from jobs import cli
from jobs.launching import doctor, job, preflight
from jobs.launching.local_ray import environment
from jobs.launching.submit import overrides_of
from sandboxes import pick


def run(*argv: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return folder


def commit(folder: Path) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, "commit", "-q", "--allow-empty", "-m", "first"], check=True)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["improve", "missing.yaml"],
            "there is no config missing.yaml; give a YAML file, or one that ships with forge: cluster.yaml, marathon.yaml, quickstart.yaml",
        ),
        (["improve", "quickstart.yaml", "rounds.limt=1"], "unknown config key 'rounds.limt'; did you mean 'rounds.limit'?"),
        (["improve", "quickstart.yaml", "--repo", "/nowhere"], "/nowhere is no folder; give --repo the path of a git repository"),
        (["report", "/nowhere"], "there is no report at /nowhere/report.json"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["improve", "--frob"], "No such option: --frob"),
    ],
)
def test_bad_input_is_one_sentence(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(*argv, capsys=capsys)
    assert (code, out) == (1 if argv[0] == "report" else 2, "")
    assert err.startswith("forge: ")
    assert said in err
    assert err.count("\n") == 1


def test_a_folder_that_is_no_repository_and_one_without_commits_are_refused(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(HistoryError, match="is no git repository"):
        preflight.check_git([str(tmp_path / "plain")])
    with pytest.raises(HistoryError, match="has no commits"):
        preflight.check_git([str(repository)])
    commit(repository)
    preflight.check_git([str(repository)])


def test_a_folder_inside_a_repository_is_not_taken_for_one(repository: Path) -> None:
    commit(repository)
    (repository / "inner").mkdir()
    with pytest.raises(HistoryError, match="is no git repository of its own"):
        preflight.check_git([str(repository / "inner")])


def test_too_little_disk_or_memory_says_how_much_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLackError, match=r"GiB free, a run needs .*workspace=PATH"):
        preflight.check_disk(tmp_path / "not" / "yet", needed=2**60)
    with pytest.raises(EnvironmentLackError, match=r"GiB of memory are available, a run needs 1073741824\.0"):
        preflight.check_memory(needed=2**60)
    preflight.check_disk(tmp_path / "not" / "yet", needed=1)
    assert preflight.available_memory() > 0


def test_a_taken_port_is_named_with_its_key() -> None:
    with socket.socket() as taken, socket.socket() as first, socket.socket() as second:
        for one in (taken, first, second):
            one.bind(("127.0.0.1", 0))
        taken.listen()
        port, *free = (one.getsockname()[1] for one in (taken, first, second))
        first.close()
        second.close()
        others = [f"ray.port={free[0]}", f"ray.dashboard_port={free[1]}"]  # a run on this machine may hold the default ports
        with pytest.raises(EnvironmentLackError, match=rf"port {port} \(serve\.port\) is taken; choose another with serve\.port=NUMBER"):
            preflight.check_ports(preflight.ports(load([], [f"serve.port={port}", *others])))


def test_a_config_that_holds_a_gpu_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    # There is no seam for a machine's hardware: the only way to be on one without a card is to look as if.
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(EnvironmentLackError, match="nvidia-smi shows none"):
        preflight.check_packages(load([], ["serve.gpus=1"]))


def test_strange_code_never_starts_in_the_weak_sandbox() -> None:
    weak = pick.Choice(name="confined", why="", trusted_only=True, make=FakeProvider)
    strong = pick.Choice(name="bubblewrap", why="", trusted_only=False, make=FakeProvider)
    with pytest.raises(EnvironmentLackError, match=r"/x is not forge's own, .*\(confined\) is too weak for strange code"):
        preflight.check_sandbox(load([], ["history.repos=[/x]"]), weak)
    preflight.check_sandbox(load([], ["history.repos=[/x]"]), strong)
    preflight.check_sandbox(load([]), weak)


def test_config_shows_what_a_run_would_use(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("config", "quickstart.yaml", "seed=3", "--bare", capsys=capsys)
    assert code == 0
    assert "seed: 3\n" in out
    code, out, _ = run("config", "rtx.yaml", capsys=capsys)
    assert code == 0
    assert "model: Qwen/Qwen3-1.7B" in out


def test_repositories_of_the_command_line_join_those_of_the_config(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("history: {repos: [/a]}\n")
    paths, overrides = cli.split([str(tmp_path / "c.yaml")])
    added = cli._repos(paths, overrides, ["/b", "c"])
    assert load(paths, [*overrides, *added]).history.repos == ("/a", "/b", os.path.abspath("c"))


def test_a_config_travels_to_the_job_as_overrides() -> None:
    config = load(
        [], ["bases.small.model=x/y", "bases.main.model=nano", "stages.review.base=small", "history.repos=['/a b']", "rounds.limit=1"]
    )
    carried = overrides_of(config.model_dump(mode="json", exclude_defaults=True))
    assert load([], carried) == config
    assert 'history.repos=["/a b"]' in carried


def test_ray_is_started_with_this_python_first_and_without_foreign_settings() -> None:
    found = environment({"PATH": "/bin", "PYTHONDONTWRITEBYTECODE": "1", "RAY_ADDRESS": "elsewhere", "HOME": "/h"})
    assert "RAY_ADDRESS" not in found
    assert "PYTHONDONTWRITEBYTECODE" not in found
    assert found["PATH"].endswith(":/bin")
    assert (Path(found["PYTHONPATH"].split(":")[0]) / "jobs" / "cli.py").exists()


NO_DOCKER = pick.Finding("docker", False, "no container engine answers", "start one")
WEAK = pick.Finding("confined", True, "confined processes")
NO_NAMESPACES = pick.Finding("bubblewrap", False, "bubblewrap is not installed", "install it")
STRONG = pick.Finding("bubblewrap", True, "bubblewrap and namespaces work here")


def sandboxes(overrides: list[str], *found: pick.Finding) -> list[tuple[str, str]]:
    findings = doctor.examine(load([], overrides), lambda: list(found))
    return [(finding.state, finding.cure) for finding in findings if finding.subject == "sandbox"]


def test_doctor_puts_a_cure_beside_each_lack() -> None:
    findings = doctor.examine(load([], ["training.gpus=1", "sandbox.kind=docker"]), lambda: [NO_DOCKER])
    assert {"forge", "git", "packages", "engine", "GPU", "memory", "disk", "sandbox"} <= {finding.subject for finding in findings}
    assert [finding for finding in findings if finding.state == "lack" and not finding.cure] == []


def test_doctor_says_which_sandbox_a_run_gets_and_what_the_better_ones_lack() -> None:
    assert sandboxes([], NO_DOCKER, STRONG, WEAK) == [("ok", ""), ("note", "start one")]
    assert sandboxes([], NO_DOCKER, NO_NAMESPACES, WEAK) == [("note", ""), ("note", "start one"), ("note", "install it")]
    assert sandboxes(["sandbox.kind=docker"], NO_DOCKER, STRONG, WEAK) == [("lack", "start one")]


def test_strange_code_in_the_weak_sandbox_is_a_lack() -> None:
    assert sandboxes(["history.repos=[/x]"], NO_DOCKER, NO_NAMESPACES, WEAK)[0][0] == "lack"


def test_a_job_in_an_uploaded_copy_keeps_its_workspace_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / job.RAY_COPIES / "package"
    copy.mkdir(parents=True)
    quickstart = Path("configs/quickstart.yaml").resolve()
    config = load([quickstart], [])
    assert job.kept(config) == config
    monkeypatch.chdir(copy)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert job.kept(config).workspace_path == tmp_path / "home" / "forge" / "workspace" / "quickstart"
    absolute = load([quickstart], [f"workspace={tmp_path / 'mine'}"])
    assert job.kept(absolute) == absolute
