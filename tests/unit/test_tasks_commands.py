"""`forge tasks` without an engine: what is read, what is written, and the sentence for what cannot be."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from forge.errors import EnvironmentLackError, SandboxError, TaskError
from forge.fakes.sandbox import FakeProvider
from forge.records import Instance, Outcome, Trajectory, Verdict
from forge.store.parquet import read_records, write_trajectories
from forge.tasks.public.save import save_rows
from forge.tasks.public.verified import Verified, counted, verify
from jobs import cli
from jobs.tasks.sources import read_source
from jobs.tasks.verifying import fit_for
from sandboxes.pick import Choice
from tests.public_rows import ROWS, harbor_folder, swe_bench, swe_gym
from tests.public_tasks import task, workspace


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    code = cli.main(["tasks", *map(str, argv)])
    captured = capsys.readouterr()
    return code, " ".join(captured.out.split()), captured.err


def test_rows_are_imported_by_set_and_imported_again_without_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_rows(tmp_path / "all.jsonl", [make() for make in ROWS.values()])
    save_rows(tmp_path / "more.jsonl", [swe_gym(version="9"), swe_gym(instance_id="other"), swe_gym(instance_id="bad", patch="-")])
    assert run(capsys, "import", tmp_path / "all.jsonl", "--into", tmp_path / "ws")[0] == 0
    code, out, _ = run(capsys, "import", tmp_path / "more.jsonl", "--into", tmp_path / "ws")
    assert code == 0 and "2 instances, 1 rows refused" in out and "patch is not a diff 1" in out
    assert {file.stem for file in (tmp_path / "ws/tasks/public").glob("*.parquet")} == ROWS.keys()
    gym = {found.id: found.version for found in read_records(tmp_path / "ws/tasks/public/swe-gym.parquet", Instance)}
    assert gym == {"getmoto__moto-5752": "9", "other": "4.0"}
    assert len(read_source(tmp_path / "ws").instances) == len(ROWS) + 1


def test_instances_leave_in_their_own_format_as_they_came(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_rows(tmp_path / "in.jsonl", [swe_bench()])
    assert run(capsys, "export", tmp_path / "in.jsonl", tmp_path / "out.json", "--to", "rows")[0] == 0
    assert json.loads((tmp_path / "out.json").read_text()) == [swe_bench()]
    harbor_folder(tmp_path / "folders/double")
    assert run(capsys, "export", tmp_path / "folders", tmp_path / "again", "--to", "harbor")[0] == 0
    assert subprocess.run(["diff", "-r", tmp_path / "folders", tmp_path / "again"]).returncode == 0


def test_tasks_and_instances_become_rows_of_swe_bench_5_and_what_cannot_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = workspace(tmp_path / "own", task(), task(id="empty", gold=()))
    code, out, _ = run(capsys, "export", source, tmp_path / "tasks.parquet")
    assert code == 0 and "1 to" in out and "its solution changes nothing 1" in out
    (context,) = (tmp_path / "tasks-images").iterdir()
    assert sorted(file.name for file in context.iterdir()) == ["Dockerfile", "work.tar"]
    save_rows(tmp_path / "all.jsonl", [make() for make in ROWS.values()])
    code, out, _ = run(capsys, "export", tmp_path / "all.jsonl", tmp_path / "rows.jsonl")
    assert code == 0 and "its start is not its image's 1" in out and "it is not graded by a log 1" in out
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 4


def test_the_rollouts_of_the_last_step_become_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = workspace(tmp_path / "own", task())
    fields = {
        "task_id": task().id,
        "repo": "r",
        "round": 1,
        "sample": 0,
        "seed": 0,
        "temperature": 0.0,
        "turns": (),
        "outcome": Outcome.SOLVED,
    }
    for number, edits in ((2, ()), (10, task().gold)):
        rollout = Trajectory.model_validate({**fields, "id": "t", "step": "s", "edits": edits})
        write_trajectories(source / f"rounds/{number}/trajectories/step-{number}.parquet", [rollout])
    assert run(capsys, "export", source, tmp_path / "p.jsonl", "--to", "predictions", "--model", "forge-2")[0] == 0
    (row,) = map(json.loads, (tmp_path / "p.jsonl").read_text().splitlines())
    assert (row["instance_id"], row["model_name_or_path"]) == (task().id, "forge-2") and "+    return 2 * x" in row["model_patch"]
    assert run(capsys, "export", source, tmp_path / "p.jsonl", "--to", "predictions", "--step", "step-2")[0] == 0
    assert json.loads((tmp_path / "p.jsonl").read_text())["model_patch"] == ""
    code, _, err = run(capsys, "export", source, tmp_path / "p.jsonl", "--to", "predictions", "--step", "x")
    assert (code, err) == (2, "forge: there is no step x; there are step-2, step-10\n")


def test_what_cannot_be_read_or_written_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_rows(tmp_path / "in.jsonl", [swe_bench()])
    (tmp_path / "empty/tasks").mkdir(parents=True)
    (tmp_path / "bad.parquet").write_text("no")
    for argv, said in (
        (("import", tmp_path / "nothing.json"), "there is no"),
        (("import", tmp_path / "in.jsonl", "--set", "x"), "there is no set x; forge knows harbor, r2e-gym"),
        (("export", tmp_path / "in.jsonl", tmp_path / "o.json", "--to", "x"), "there is no format x; give --to swe-bench, harbor"),
        (("export", tmp_path / "in.jsonl", tmp_path / "o.txt", "--to", "rows"), "cannot write rows to o.txt"),
        (("export", tmp_path / "in.jsonl", tmp_path / "o.json", "--to", "predictions"), "is no workspace; predictions are made of"),
        (("verify", tmp_path / "empty"), "holds no tasks yet"),
        (("verify", tmp_path / "bad.parquet"), "cannot read"),
    ):
        code, _, err = run(capsys, *argv)
        assert code == 2 and said in err and err.count("\n") == 1, err


def test_a_task_is_verified_when_gold_always_passes_and_nothing_always_fails() -> None:
    def told(*answers: bool | Exception) -> Verified:
        left = list(answers)

        async def grade(gold: bool) -> Verdict:
            answer = left.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return Verdict(passed=answer, reason="so it is", weak=True)

        return asyncio.run(verify("key", "one", "swe-gym", 2, grade))

    assert (told(True, False, True, False).reason, told(True, False, True, False).runs) == ("", 4)
    assert told(False).reason == "its own solution fails" and told(False).detail == "so it is"
    assert told(True, True).reason == "doing nothing passes"
    assert told(True, False, False).reason == "its own solution passes only sometimes"
    assert told(True, False, True, True).reason == "doing nothing passes sometimes"
    assert told(TaskError("swebench has no parser")).reason == "swebench has no parser"
    with pytest.raises(SandboxError):
        told(SandboxError("the box died"))


def test_proofs_are_counted_by_set_and_reason() -> None:
    entries = [Verified(key=str(i), id=str(i), set="a", seconds=i, reason="fails" if i else "", weak=True) for i in range(3)]
    (one, other) = counted([Verified(key="x", id="x", set="b"), *entries])
    assert (one.set, one.tasks, one.verified, one.refused, one.seconds, one.weak) == ("a", 3, 1, {"fails": 2}, 1.0, True)
    assert (other.verified, other.refused, other.weak) == (1, {}, False)


def test_strange_code_is_not_run_in_a_sandbox_for_trusted_code(tmp_path: Path) -> None:
    weak = Choice(name="fake", why="nothing else works here", trusted_only=True, make=FakeProvider)
    source = read_source(workspace(tmp_path / "own", task()))
    with pytest.raises(EnvironmentLackError, match="someone/maths is code that forge did not generate, and nothing else works here"):
        fit_for(source, weak)
    (tmp_path / "own/repositories/practice-1").mkdir(parents=True)
    own = read_source(workspace(tmp_path / "own", task(repo="practice-1")))
    assert fit_for(own, weak) is weak
