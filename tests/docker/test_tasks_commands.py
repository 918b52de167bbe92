"""`forge tasks` from end to end on a small base image: export with --build, import, verify; and swebench's own runner."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from swebench.harness.run_evaluation import run_instance
from swebench.harness.utils import load_swebench_dataset, make_test_spec

from forge.tasks.public.commit import repository
from forge.tasks.public.export import Base, image_name, work_tree
from forge.tasks.public.harbor import read_folder
from jobs import cli
from tests.docker.images import BASE, base_image, built, removed
from tests.public_rows import FILES, TESTS, swe_bench_5
from tests.public_tasks import TREE, task, workspace

HISTORY = "forge-test-commands:history"


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    base_image()
    name = image_name(repository(work_tree(task(), TREE)).commit, Base(image=BASE))
    yield name
    removed(name, HISTORY)


@pytest.fixture
def exported(image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    source = workspace(tmp_path / "own", task())
    assert cli.main(["tasks", "export", str(source), str(tmp_path / "rows.jsonl"), "--base", BASE, "--build"]) == 0
    assert (tmp_path / f"rows-images/{image.replace(':', '-')}/Dockerfile").read_text().startswith(f"FROM {BASE}\n")
    capsys.readouterr()
    return tmp_path / "rows.jsonl"


def verify(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    code = cli.main(["tasks", "verify", str(path), *options])
    return code, " ".join(capsys.readouterr().out.split())


def test_an_exported_task_is_imported_and_verified_and_taken_from_the_journal_again(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["tasks", "import", str(exported), "--into", str(tmp_path / "public"), "--check"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 instances, 0 rows refused" in said and "1 of 1 are here" in said
    code, said = verify(tmp_path / "public", capsys, "--runs", "2")
    assert code == 0 and "1 of 1 verified" in said and "weaker" in said and "proven: one orphan commit 1" in said
    journal = tmp_path / "public/tasks/verified.jsonl"
    before = journal.read_text().split()
    assert verify(tmp_path / "public", capsys, "--runs", "2")[0] == 0 and journal.read_text().split() == before


def test_a_row_that_proves_nothing_is_refused_with_its_reason(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = json.loads(exported.read_text())
    rows = [row, row | {"instance_id": "solved", "FAIL_TO_PASS": row["PASS_TO_PASS"]}, row | {"instance_id": "bad", "patch": TESTS}]
    rows += [
        row | {"instance_id": "gone", "image": "forge-test-commands:gone"},
        row | {"instance_id": "ada", "log_parser": "parse_log_ada"},
    ]
    exported.write_text("".join(json.dumps(entry) + "\n" for entry in rows))
    code, said = verify(exported, capsys)
    assert code == 1 and "1 of 4 verified" in said
    for reason in ("doing nothing passes 1", "its own solution fails 1", "swebench has no parse_log_ada 1", "its image is not here"):
        assert reason in said, said


def test_an_image_with_history_is_named(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = {path: text.encode() for path, text in FILES.items()}
    built(HISTORY, work)
    recipe = f"FROM {HISTORY}\nRUN git -c user.name=a -c user.email=a@b commit -q --allow-empty -m 'the future'\n"
    words = ["docker", "build", "--network=none", "-q", "-t", HISTORY, "-"]
    subprocess.run(words, input=recipe.encode(), check=True, capture_output=True, timeout=120)
    (tmp_path / "rows.json").write_text(json.dumps([swe_bench_5(image=HISTORY)]))
    code, said = verify(tmp_path / "rows.json", capsys)
    assert code == 1 and "1 of 1 verified" in said and f"{HISTORY}: 2 commits" in said


def test_harbor_folders_of_tasks_are_built_and_verified(image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = workspace(tmp_path / "own", task())
    assert cli.main(["tasks", "export", str(source), str(tmp_path / "folders"), "--to", "harbor", "--base", BASE]) == 0
    capsys.readouterr()
    code, said = verify(tmp_path / "folders", capsys, "--build")
    removed(read_folder(tmp_path / "folders" / task().id).image)
    assert code == 0 and "1 of 1 verified" in said and "proven: one orphan commit 1" in said, said


def test_swebenchs_own_runner_resolves_gold_and_nothing_else(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # its logs go below the folder that it is started in
    (row,) = load_swebench_dataset(str(exported))
    client = docker.from_env()
    try:
        for model, patch, resolved in (("gold", row["patch"], True), ("nothing", "", False)):
            prediction = {"instance_id": row["instance_id"], "model_name_or_path": model, "model_patch": patch}
            done = run_instance(make_test_spec(dict(row)), prediction, Offline(client), f"forge-{model}", 120, skip_patch=not patch)
            assert done is not None and done[1][row["instance_id"]]["resolved"] is resolved
    finally:
        client.close()


class Offline:
    """swebench's runner gives its containers the engine's default network, which an engine need not have."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client, self.containers = client, self

    def create(self, **about: Any) -> Any:
        return self._client.containers.create(network_mode="none", **about)

    def get(self, name: str) -> Any:
        return self._client.containers.get(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)
