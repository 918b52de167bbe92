from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import datasets
import pytest
from swebench.harness.utils import make_test_spec
from swebench.task.repo import load_task_repo

from forge.errors import ConfigError, TaskError
from forge.records import Instance
from forge.store.parquet import read_records, write_records
from forge.tasks.public.harbor import read_folder
from forge.tasks.public.load import load
from forge.tasks.public.save import save, save_rows
from forge.tasks.public.sets import read_row, write_row
from jobs.tasks.sources import read_source
from tests.public_rows import BROKEN, COMMIT, FAILING, FIXED, GOLD, PASSING, ROWS, TESTS, harbor_folder, r2e_gym, swe_bench, swe_smith

IMAGES = {
    "swe-bench": "swebench/sweb.eval.x86_64.psf_1776_requests-1234:latest",
    "swe-bench-5": "swebench/sweb.eval.x86_64.psf_1776_requests-1234:latest",
    "swe-gym": "xingyaoww/sweb.eval.x86_64.getmoto_s_moto-5752:latest",
    "swe-smith": "jyangballin/swesmith.x86_64.oauthlib_1776_oauthlib.1fd52536",
    "r2e-gym": f"namanjain12/aiohttp_final:{COMMIT}",
    "swe-rebench-v2": "docker.io/swerebenchv2/someone-testbed:1925-0123456",
}


@pytest.mark.parametrize("name", ROWS)
def test_a_set_is_recognised_and_its_row_can_be_written_again(name: str) -> None:
    row = ROWS[name]()
    instance = read_row(row)
    assert (instance.set, instance.image) == (name, IMAGES[name])
    assert write_row(instance) == row
    assert read_row(write_row(instance), name) == instance


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize("name", ROWS)
def test_instances_survive_a_file_of_their_set(name: str, suffix: str, tmp_path: Path) -> None:
    loaded = load(Path(str(_file(tmp_path / f"rows{suffix}", [ROWS[name]()]))))
    assert loaded.refused == {} and [instance.set for instance in loaded.instances] == [name]
    save(tmp_path / f"again{suffix}", loaded.instances)
    assert load(tmp_path / f"again{suffix}").instances == loaded.instances
    write_records(tmp_path / "kept.parquet", loaded.instances)
    assert tuple(read_records(tmp_path / "kept.parquet", Instance)) == loaded.instances


def test_rows_come_from_a_saved_data_set_and_from_one_with_splits(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_list([swe_bench(), swe_bench(instance_id="psf__requests-2")])
    rows.save_to_disk(tmp_path / "flat")
    datasets.DatasetDict({"dev": rows.select([1]), "test": rows.select([0])}).save_to_disk(tmp_path / "split")
    assert [found.id for found in load(tmp_path / "flat").instances] == ["psf__requests-1234", "psf__requests-2"]
    assert [found.id for found in load(tmp_path / "split").instances] == ["psf__requests-2", "psf__requests-1234"]
    assert [found.id for found in load(tmp_path / "split", split="test").instances] == ["psf__requests-1234"]
    with pytest.raises(ConfigError, match="no split train; it has dev, test"):
        load(tmp_path / "split", split="train")


def test_a_task_repository_of_swe_bench_5_reads_as_swebench_reads_it(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        folder, row = tmp_path / f"tasks/task-{number}", ROWS["swe-bench-5"](instance_id=f"task-{number}")
        folder.mkdir(parents=True)
        files = {"gold.patch": "patch", "test.patch": "test_patch", "eval.sh": "eval_script", "problem_statement.md": "problem_statement"}
        for name, column in files.items():
            (folder / name).write_text(row.pop(column))
        (folder / "hints.md").write_text(row.pop("hints_text"))
        (folder / "tests.json").write_text(json.dumps({name: json.loads(row.pop(name)) for name in ("FAIL_TO_PASS", "PASS_TO_PASS")}))
        (folder / "task.yaml").write_text(json.dumps(row | {"split": "dev" if number == 2 else "test"}))
    (tmp_path / "sweb.yaml").write_text("datasets: []\n")
    (tmp_path / "tasks/task-3/gold.patch").unlink()
    loaded = load(tmp_path)
    assert [found.id for found in loaded.instances] == ["task-1", "task-2"] and loaded.refused == {"no gold.patch": 1}
    assert [write_row(found) for found in loaded.instances] == load_task_repo(str(tmp_path), ["task-1", "task-2"])
    assert [found.id for found in load(tmp_path, split="dev").instances] == ["task-2"]
    assert len(read_source(tmp_path).instances) == 2


def test_bad_rows_are_counted_by_reason_and_good_ones_kept(tmp_path: Path) -> None:
    rows: list[Any] = [swe_bench(), swe_bench(), swe_bench(instance_id=""), swe_bench(instance_id="a", patch="nothing")]
    rows += [swe_bench(instance_id="b", FAIL_TO_PASS="[1]"), swe_bench(instance_id="c", FAIL_TO_PASS="["), {"unknown": 1}, 7]
    rows += [r2e_gym(expected_output_json="{}"), r2e_gym(parsed_commit_content='{"file_diffs": [{}]}'), swe_smith(patch=None)]
    rows += [swe_smith(image_name="swesmith Image?"), swe_bench(instance_id="d", FAIL_TO_PASS="[]")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    loaded = load(tmp_path / "rows.jsonl")
    assert [found.id for found in loaded.instances] == ["psf__requests-1234"]
    assert loaded.refused == {
        "the same id again": 1,
        "no instance_id": 1,
        "patch is not a diff": 1,
        "FAIL_TO_PASS is not a list of names": 1,
        "FAIL_TO_PASS is not JSON": 1,
        "FAIL_TO_PASS names no test": 1,
        "its fields are of no set that is known": 1,
        "a row that is no object": 1,
        "expected_output_json names no test": 1,
        "parsed_commit_content is not a parsed commit": 1,
        "no patch": 1,
        "the image's name is none": 1,
        "a line that is not JSON": 1,
    }


def test_a_named_set_is_not_guessed_and_an_unknown_one_is_a_sentence(tmp_path: Path) -> None:
    path = _file(tmp_path / "rows.json", [swe_bench()])
    assert load(path, "swe-gym").instances[0].image.startswith("xingyaoww/")
    with pytest.raises(ConfigError, match="forge knows harbor, r2e-gym"):
        load(path, "swe-gum")
    with pytest.raises(ConfigError, match=r"there is no .*/nothing\.json"):
        load(tmp_path / "nothing.json")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ConfigError, match=r"of no kind that forge reads; give \.json"):
        load(tmp_path / "notes.txt")


def test_the_gold_of_swe_smith_is_its_bug_turned_round(tmp_path: Path) -> None:
    instance = read_row(swe_smith())
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/maths.py").write_text(BROKEN)
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=instance.gold_patch.encode(), check=True)
    assert (tmp_path / "pkg/maths.py").read_text() == FIXED and instance.test_patch == ""
    early = read_row(swe_smith(image_name="swesmith.x86_64.oauthlib__oauthlib.1fd52536"))
    assert early.image == instance.image


def test_the_gold_of_r2e_gym_is_its_commit_without_tests(tmp_path: Path) -> None:
    instance = read_row(r2e_gym())
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/maths.py").write_text(BROKEN)
    subprocess.run(["git", "apply", "--recount", "-"], cwd=tmp_path, input=instance.gold_patch.encode(), check=True)
    assert (tmp_path / "pkg/maths.py").read_text() == FIXED
    assert (instance.id, instance.eval_type) == ("aiohttp__0123456789", "status_map")
    assert instance.expected == {"test_double": "PASSED", "test_same": "PASSED"}


def test_a_row_without_a_script_gets_one_that_swebench_reads() -> None:
    for name in ("swe-bench", "swe-gym"):
        instance = read_row(ROWS[name]())
        fields = {"instance_id": instance.id, "FAIL_TO_PASS": FAILING, "PASS_TO_PASS": PASSING}
        spec = make_test_spec({**instance.model_dump(), **fields})
        assert "pytest -rA tests/test_maths.py\nSWEBENCH_TEST_EXIT_CODE=$?\n: '>>>>> End Test Output'" in spec.eval_script
        assert f"git checkout {COMMIT} -- tests/test_maths.py" in spec.eval_script and TESTS in spec.eval_script
    django = read_row(swe_bench(repo="django/django", test_patch=TESTS.replace("tests/test_maths.py", "tests/admin/tests.py")))
    assert "--parallel 1 admin.tests\n" in django.eval_script and django.log_parser == "parse_log_django"


def test_a_harbor_folder_survives_being_read_and_written(tmp_path: Path) -> None:
    instance = read_folder(harbor_folder(tmp_path / "tasks" / "double"))
    assert (instance.id, instance.workdir, instance.eval_type) == ("double", "/testbed", "reward")
    assert instance.image.startswith("forge-harbor:") and instance.gold_script.startswith("#!/bin/bash")
    save(tmp_path / "again", [instance])
    assert load(tmp_path / "again").instances == load(tmp_path / "tasks").instances == (instance,)
    assert (tmp_path / "again/double/tests/test.sh").stat().st_mode & 0o111
    named = read_folder(harbor_folder(tmp_path / "named", image="someone/image:1"))
    assert named.image == "someone/image:1"
    with pytest.raises(TaskError, match="harbor has no rows"):
        write_row(instance)


def test_a_harbor_folder_that_lacks_its_parts_is_refused(tmp_path: Path) -> None:
    for name, missing in (("a", "instruction.md"), ("b", "tests/test.sh")):
        (harbor_folder(tmp_path / name) / missing).unlink()
    harbor_folder(tmp_path / "c")
    (harbor_folder(tmp_path / "d") / "task.toml").write_text("[")
    loaded = load(tmp_path)
    assert [found.id for found in loaded.instances] == ["c"]
    assert loaded.refused == {"no instruction.md": 1, "no tests/test.sh": 1, "task.toml is not TOML": 1}


def test_gold_and_tests_of_the_rows_are_diffs_of_different_files() -> None:
    for name in ("swe-bench", "swe-bench-5", "swe-gym", "swe-rebench-v2"):
        instance = read_row(ROWS[name]())
        assert (instance.gold_patch, instance.test_patch) == (GOLD, TESTS)
        assert (list(instance.fail_to_pass), list(instance.pass_to_pass)) == (FAILING, PASSING)


def _file(path: Path, rows: list[dict[str, Any]]) -> Path:
    save_rows(path, rows)
    return path
