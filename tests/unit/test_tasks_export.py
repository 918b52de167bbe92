from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from swebench.harness.grading import get_eval_report
from swebench.harness.utils import get_predictions_from_file, load_swebench_dataset, make_test_spec

from forge.errors import TaskError
from forge.records import Environment, EnvironmentSpec, FileEdit, Outcome, Trajectory
from forge.tasks.public.commit import packed, repository
from forge.tasks.public.export import Base, base_of, context, export, image_name, work_tree
from forge.tasks.public.harbor import files_of
from forge.tasks.public.harbor_export import harbor_instance
from forge.tasks.public.load import load
from forge.tasks.public.predictions import predictions
from forge.tasks.public.save import save, save_rows
from tests.public_rows import FAILING, FIXED, PASSING
from tests.public_tasks import TREE, task

ODD = {
    "a.txt": b"one\n",
    "a/b.py": b"",
    "a-b/c.py": b"x\r\n",
    "deep/er/est/d.bin": bytes(range(256)),
    "\u00e4 b.py": b"1",
    ".gitignore": b"*.bin\n",
}


def unpacked(folder: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(fileobj=io.BytesIO(packed(files))) as tar:
        tar.extractall(folder, filter="data")
    return folder


def git(folder: Path, *words: str, text: str | None = None) -> str:
    clean = os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(["git", "-C", folder, *words], input=text, check=True, capture_output=True, text=True, env=clean).stdout


def test_a_tree_becomes_a_clean_repository_of_one_orphan_commit(tmp_path: Path) -> None:
    made = repository(ODD)
    unpacked(tmp_path, ODD | made.files)
    assert git(tmp_path, "fsck", "--strict", "--full") == ""
    assert git(tmp_path, "status", "--porcelain", "--ignored") == ""
    assert git(tmp_path, "rev-list", "--all").split() == [made.commit]
    assert git(tmp_path, "for-each-ref", "--format=%(refname)").split() == ["refs/heads/main"]
    assert git(tmp_path, "reflog") == "" and "parent" not in git(tmp_path, "cat-file", "-p", "HEAD")
    assert {name: (tmp_path / name).read_bytes() for name in git(tmp_path, "ls-files", "-z").split("\0") if name} == ODD
    assert repository(dict(reversed(ODD.items()))) == made


def test_an_exported_task_is_one_that_swebench_loads_and_keeps_its_patches_and_ids(tmp_path: Path) -> None:
    instance = export(task(), TREE)
    for name in ("rows.json", "rows.jsonl", "rows.parquet"):
        save(tmp_path / name, [instance])
        (row,) = load_swebench_dataset(str(tmp_path / name))
        spec = make_test_spec(row)
        assert (spec.FAIL_TO_PASS, spec.PASS_TO_PASS, spec.image) == (FAILING, PASSING, instance.image)
        assert "SWEBENCH_TEST_EXIT_CODE=$?" in spec.eval_script
        assert load(tmp_path / name).instances == (instance,)


def test_the_patches_of_an_exported_task_apply_with_git_and_make_gold(tmp_path: Path) -> None:
    made = task()
    instance = export(made, TREE)
    unpacked(tmp_path, work_tree(made, TREE))
    git(tmp_path, "apply", "-", text=instance.gold_patch)
    git(tmp_path, "apply", "-", text=instance.test_patch)
    assert (tmp_path / "pkg/maths.py").read_text() == FIXED and (tmp_path / "pkg/more.py").read_text() == "MORE = 1"
    assert not (tmp_path / "pkg/note.py").exists()
    assert "def test_double" in (tmp_path / "tests/test_maths.py").read_text()


@pytest.mark.parametrize(("patched", "resolved"), [(True, True), (False, False)])
def test_swebench_grades_the_log_of_an_exported_script(patched: bool, resolved: bool, tmp_path: Path) -> None:
    made = task()
    instance = export(made, TREE)
    work = work_tree(made, TREE)
    unpacked(tmp_path / "work", work | repository(work).files)
    if patched:
        git(tmp_path / "work", "apply", "-", text=instance.gold_patch)
    save(tmp_path / "rows.json", [instance])
    spec = make_test_spec(load_swebench_dataset(str(tmp_path / "rows.json"))[0])
    script = spec.eval_script.replace("/testbed", str(tmp_path / "work")).replace("python3", sys.executable)
    environment = os.environ | {"HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(["bash"], input=script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, timeout=60)
    (tmp_path / "log").write_text(ran.stdout)
    prediction = {"instance_id": made.id, "model_name_or_path": "gold", "model_patch": instance.gold_patch}
    report = get_eval_report(spec, prediction, str(tmp_path / "log"), include_tests_status=True)[made.id]
    assert (report["patch_successfully_applied"], report["resolved"]) == (True, resolved)
    assert git(tmp_path / "work", "status", "--porcelain", "tests") == ""


def test_names_that_swebench_cannot_tell_apart_are_left_out() -> None:
    names = ("t.py::test[a b]", "t.py::test[c d]", "t.py::test[c e]", "t.py::plain")
    instance = export(task(fail_to_pass=names[:1], pass_to_pass=names[1:]), TREE)
    assert (instance.fail_to_pass, instance.pass_to_pass) == (("t.py::test[a",), ("t.py::plain",))
    with pytest.raises(TaskError, match="no failing test has a name"):
        export(task(fail_to_pass=names[1:2], pass_to_pass=names[2:]), TREE)


def test_what_cannot_be_exported_says_why() -> None:
    with pytest.raises(TaskError, match="not UTF-8"):
        export(task(), TREE | {"pkg/maths.py": b"\xff"})
    with pytest.raises(TaskError, match="the marks"):
        export(task(tests=(FileEdit(path="tests/test_maths.py", content="# >>>>> End Test Output\n"),)), TREE)


def test_equal_work_trees_on_one_base_share_an_image(tmp_path: Path) -> None:
    one, other = export(task(), TREE), export(task(id="other", statement="Other words."), TREE)
    assert one.image == other.image == image_name(one.base_commit, Base())
    assert one.image != export(task(), TREE, base=Base(image="forge-test-base:bookworm")).image
    made = context(work_tree(task(), TREE), Base(image="forge-test-base:bookworm"))
    assert made["Dockerfile"].startswith(b"FROM forge-test-base:bookworm\n") and made.keys() == {"Dockerfile", "work.tar"}


def test_a_harbor_folder_of_a_task_holds_all_its_parts_and_reads_back(tmp_path: Path) -> None:
    made = task()
    instance = harbor_instance(made, TREE)
    save(tmp_path, [instance])
    assert load(tmp_path).instances == (instance,)
    assert {"task.toml", "instruction.md", "environment/Dockerfile", "environment/work.tar", "tests/test.sh", "solution/solve.sh"} <= set(
        files_of(instance)
    )
    assert (instance.statement, instance.repo, instance.workdir) == (made.statement + "\n", made.repo, "/testbed")
    assert json.loads(files_of(instance)["tests/ids.json"].content)["ids"] == [*FAILING, *PASSING]
    environment = b"".join(file.content for path, file in files_of(instance).items() if path.startswith("environment/"))
    assert b"def test_double" not in environment and b"2 * x" not in environment


def test_predictions_are_what_swebench_reads_and_what_git_applies(tmp_path: Path) -> None:
    made = task()
    rollouts = [rollout(0, made.gold), rollout(1, ()), rollout(0, made.gold[:2])]
    rows = [found.model_dump() for found in predictions(rollouts, {made.id: made}, lambda _: TREE, model="forge")]
    save_rows(tmp_path / "predictions.jsonl", rows)
    (read,) = get_predictions_from_file(str(tmp_path / "predictions.jsonl"), "", "")
    unpacked(tmp_path / "work", work_tree(made, TREE))
    git(tmp_path / "work", "apply", "-", text=read["model_patch"])
    assert (tmp_path / "work/pkg/note.py").exists() and read["model_name_or_path"] == "forge"
    assert predictions(rollouts, {made.id: made}, lambda _: TREE, model="forge", sample=1)[0].model_patch == ""
    with pytest.raises(TaskError, match="there is no task"):
        predictions(rollouts, {}, lambda _: TREE, model="forge")


def rollout(sample: int, edits: tuple[FileEdit, ...]) -> Trajectory:
    fields = {"id": "t", "task_id": task().id, "repo": "r", "round": 0, "step": "evaluate", "seed": 0, "temperature": 0.0, "turns": ()}
    return Trajectory.model_validate({**fields, "sample": sample, "edits": edits, "outcome": Outcome.FAILED})


def test_an_image_has_the_python_and_the_packages_of_the_tasks_environment() -> None:
    spec = EnvironmentSpec(python="3.8", requirements=("pytest", "six"), before="2021-01-01")
    made = Environment(id="e", spec=spec, interpreter="/x/bin/python", roots=("src",), installed=("pytest==6.2.4", "six==1.16.0"))
    lines = context({}, base_of(made, None))["Dockerfile"].decode().splitlines()
    assert lines[0] == "FROM python:3.8-slim"
    assert "RUN python3 -m pip install --no-cache-dir pytest==6.2.4 six==1.16.0" in lines
    assert "ENV PYTHONPATH=/testbed/src" in lines
    assert context({}, base_of(made, "mine:1"))["Dockerfile"].startswith(b"FROM mine:1\n")
