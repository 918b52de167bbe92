"""Examinations without a real box: what is masked, what is tried again, what is kept, and SWE-bench's files."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swebench.harness.utils import get_predictions_from_file

from forge.config import ForgeConfig, load
from forge.errors import ConfigError, EndpointError, HistoryError, SandboxError
from forge.evals.suites.examiner import Assigned, Examiner, Reply
from forge.evals.suites.problem import Problem, Sample
from forge.evals.suites.registry import SUITES, problems
from forge.exam.alone import ANSWER
from forge.fakes.sandbox import FakeProvider
from forge.observe.progress import Progress
from forge.records import CommandResult, Instance, Message, Verdict
from forge.tasks.public.save import save_rows
from jobs.evaluation.samples import Kept
from jobs.evaluation.swebench import SwebenchSuite
from jobs.evaluation.trees import tree_of
from sandboxes.grading import BoxGrader
from sandboxes.image_tree import unpack
from tests import suite_rows
from tests.public_rows import BROKEN, FILES, GOLD, swe_bench, swe_bench_5


def problem(name: str) -> Problem:
    return problems(SUITES[name], [suite_rows.ROWS[name]()], "rows")[0]


def examined(said: str | Exception, name: str = "humaneval", provider: FakeProvider | None = None, **options: Any) -> Sample:
    """A sample of a model that says this, in a fake's boxes."""
    boxes = provider or FakeProvider()
    asked: list[Sequence[Message]] = []

    async def ask(messages: Sequence[Message], seed: int) -> Reply:
        asked.append(messages)
        if isinstance(said, Exception):
            raise said
        return Reply(text=said, completion_tokens=5)

    async def whole() -> Sample:
        examiner = Examiner(
            ask, boxes, lambda limits, nothing: BoxGrader(boxes, lambda _: nothing, limits, "t"), memory_bytes=2**28, retries=1, **options
        )
        try:
            return await examiner.examine(Assigned(key="k", problem=problem(name), sample=0, seed=3))
        finally:
            await examiner.close()

    return asyncio.run(whole())


def test_right_and_wrong_answers_are_told_apart_and_no_code_is_a_failure() -> None:
    right, wrong, nothing = (examined(said) for said in (suite_rows.RIGHT["humaneval"], suite_rows.WRONG["humaneval"], ""))
    assert right.score and right.score.passed and right.completion_tokens == 5
    assert wrong.score and not wrong.score.passed
    assert nothing.score and not nothing.score.passed


def test_an_answer_becomes_a_file_of_its_own_beside_the_tests() -> None:
    provider = FakeProvider()
    examined(suite_rows.RIGHT["humaneval"], provider=provider)
    files = provider.opened[0].files
    assert set(files) == {ANSWER, "tests/test_suite.py"} and "assert" not in files[ANSWER]


def test_what_the_endpoint_or_boxes_lose_is_masked_and_has_no_score() -> None:
    away = examined(EndpointError("the endpoint is away"))
    assert (away.masked, away.score) == ("the endpoint is away", None)
    broken = examined(suite_rows.RIGHT["humaneval"], provider=FakeProvider(broken=9))
    assert broken.masked and broken.score is None
    mended = examined(suite_rows.RIGHT["humaneval"], provider=FakeProvider(broken=1))
    assert not mended.masked and mended.score and mended.score.passed


def report(*outcomes: dict[str, str], breach: str = "") -> CommandResult:
    return CommandResult.model_validate({"exit_code": 0, "stdout": json.dumps(outcomes), "stderr": "", "seconds": 0.5, "breach": breach})


def test_a_breach_a_crash_and_a_wrong_output_of_a_program_are_its_failures() -> None:
    def gives(result: CommandResult) -> str:
        sample = examined(suite_rows.RIGHT["livecodebench"], "livecodebench", FakeProvider(programs=lambda argv, files: result))
        assert sample.score and not sample.score.passed
        return sample.score.reason

    assert gives(report({"output": "7\n"})) == "case 1 of 3: line 1 is '7', not '3'"
    assert gives(report({"output": "3", "error": "ValueError: x"})) == "case 1 of 3: it ended with ValueError: x"
    assert gives(report({"output": "3", "cut": "time"})) == "case 1 of 3: it went over its time limit"
    assert gives(report({"output": "3"}, breach="memory")) == "case 1 of 3: it went over its memory limit"


def test_cases_are_run_in_growing_groups_with_inputs_alone_and_all_must_be_right() -> None:
    seen: list[str] = []

    def adds(argv: Sequence[str], files: Any) -> CommandResult:
        asked = json.loads(files["cases.json"])
        seen.append(files["cases.json"])
        return report(*({"output": str(sum(map(int, given.split()[1:])))} for given in asked["inputs"]))

    sample = examined(suite_rows.RIGHT["livecodebench"], "livecodebench", FakeProvider(programs=adds))
    assert sample.score and sample.score.passed and sample.score.seconds == 1.0
    assert [json.loads(asked)["inputs"] for asked in seen] == [["2\n1 2\n"], ["3\n1 2 3", "0\n\n"]]
    assert all("output" not in asked for asked in seen)


def test_half_a_surrogate_pair_in_an_answer_is_no_error() -> None:
    sample = examined("```python\ndef total(values):\n    return '\ud800'\n```")
    assert sample.score and not sample.score.passed and Sample.model_validate_json(sample.model_dump_json()) == sample


# What is kept


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=20)), max_size=8), st.text(max_size=40))
def test_kept_samples_are_there_again_the_later_one_and_torn_lines_are_none(entries: list[tuple[str, str]], torn: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.jsonl"
        kept = Kept(path, Sample)
        for key, text in entries:
            kept.add(Sample(key=key, suite="s", problem="p", sample=0, text=text))
        kept.close()
        with path.open("ab") as file:
            file.write(b'{"key": "a", "suite": "s", ' + torn.encode("utf-8", "replace"))
        again = Kept(path, Sample)
        again.add(Sample(key="last", suite="s", problem="p", sample=0))
        again.close()
        found = Kept(path, Sample)
        found.close()
        assert {key: sample.text for key, sample in found.known.items()} == dict(entries) | {"last": ""}


# SWE-bench


class Repairs:
    """An agent that repairs the package, gives up on `hopeless`, and finds no endpoint for `lost`."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def solve(self, folder: Path, question: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        self.asked.append(question["statement"])
        assert (folder / "pkg/maths.py").read_text() == BROKEN and not (folder / ".git").exists()
        if question["statement"] == "lost":
            raise EndpointError("the endpoint is away")
        hopeless = question["statement"] == "hopeless"
        return {"patch": "" if hopeless else GOLD, "reason": "no edit applies" if hopeless else "", "tokens": 9}

    async def close(self) -> None:
        return


class Images:
    """An engine that has some images and resolves what the gold patch is given for."""

    def __init__(self, has: set[str] | None, trees: bool = False) -> None:
        self.has, self.trees, self.graded = has, trees, 0

    def problem(self) -> str:
        return "" if self.has is not None else "its socket does not exist"

    def missing(self, instances: Sequence[Instance]) -> set[str]:
        return {instance.image for instance in instances} - (self.has or set())

    async def unpack(self, instance: Instance, into: Path) -> None:
        assert self.trees
        for path, text in FILES.items():
            (into / path).parent.mkdir(parents=True, exist_ok=True)
            (into / path).write_text(text)

    async def grade(self, instance: Instance, patch: str) -> Verdict:
        self.graded += 1
        if instance.id == "a__a-4":
            raise SandboxError("the engine is gone")
        return Verdict(passed=patch == GOLD, reason="all tests did as they should", weak=True)

    async def close(self) -> None:
        return


def files_in(folder: Path) -> Path:
    for path, text in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def settings(tmp_path: Path, *rows: dict[str, Any], trees: bool = True) -> ForgeConfig:
    save_rows(tmp_path / "rows.jsonl", rows)
    words = ["evaluation.suites=[swebench]", f"evaluation.data={tmp_path / 'rows.jsonl'}", f"evaluation.out={tmp_path / 'out'}"]
    return load([], [*words, *([f"evaluation.trees={tmp_path / 'trees'}"] if trees else [])])


def suite(config: ForgeConfig, agent: Repairs, images: Images) -> SwebenchSuite:
    return SwebenchSuite(config, {"generation": "main"}, lambda: agent, images, Progress(lambda _: None, every_s=60.0))


def test_predictions_are_in_the_official_format_and_graded_where_images_are(tmp_path: Path) -> None:
    rows = [swe_bench_5(f"images/{n}", instance_id=f"a__a-{n}", problem_statement=f"issue {n}") for n in range(1, 5)]
    rows += [swe_bench_5("images/5", instance_id="a__a-5", problem_statement="hopeless")]
    rows += [swe_bench_5("images/6", instance_id="a__a-6", problem_statement="lost")]
    rows += [swe_bench_5("images/7", instance_id="a__a-7")]
    for n in range(1, 7):
        files_in(tmp_path / f"trees/a__a-{n}")
    config, agent = settings(tmp_path, *rows), Repairs()
    result = suite(config, agent, Images({"images/1", "images/2", "images/4"})).run()
    assert (result.measures["resolved"].value, result.measures["resolved"].problems) == (2 / 3, 3), "two resolved, one without a patch"
    assert result.masked == {"the endpoint is away": 1, "the engine is gone": 1}
    assert sorted(reason.partition(":")[0] for reason in result.unproven) == ["it has no tree", "its patch is not graded"]
    path = tmp_path / "out/swebench/predictions.jsonl"
    theirs = get_predictions_from_file(str(path), "", "test")
    assert [one["instance_id"] for one in theirs] == [f"a__a-{n}" for n in range(1, 6)]
    assert all(one.keys() == {"instance_id", "model_name_or_path", "model_patch"} for one in theirs)
    assert [bool(one["model_patch"]) for one in theirs] == [True, True, True, True, False]
    asked, images = len(agent.asked), Images({f"images/{n}" for n in range(1, 7)})
    again = suite(config, agent, images).run()
    assert len(agent.asked) == asked + 1, "only what infrastructure lost is asked again"
    assert images.graded == 2 and again.measures["resolved"].problems == 4


def test_without_an_engine_there_are_predictions_and_no_score(tmp_path: Path) -> None:
    files_in(tmp_path / "trees/psf__requests-1234")
    result = suite(settings(tmp_path, swe_bench()), Repairs(), Images(None)).run()
    assert result.measures == {} and list(result.unproven.values()) == [1] and "no container engine" in next(iter(result.unproven))
    assert json.loads((tmp_path / "out/swebench/predictions.jsonl").read_text())["model_patch"] == GOLD


def test_without_trees_the_repository_comes_out_of_the_image(tmp_path: Path) -> None:
    rows = [swe_bench_5("images/1", instance_id="a__a-1"), swe_bench_5("images/2", instance_id="a__a-2")]
    result = suite(settings(tmp_path, *rows, trees=False), Repairs(), Images({"images/1"}, trees=True)).run()
    assert result.measures["resolved"].value == 1.0
    assert result.unproven == {"it has no tree: its image is not here (--pull fetches it)": 1}


def test_rows_that_are_no_instances_end_the_run_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no instances of a set that is known"):
        suite(settings(tmp_path, suite_rows.humaneval()), Repairs(), Images(None)).run()


def instance(**changes: Any) -> Instance:
    fields = {
        "id": "o__r-1",
        "set": "swe-bench",
        "repo": "o/r",
        "base_commit": "HEAD",
        "image": "i",
        "workdir": "/testbed",
        "statement": "s",
    }
    return Instance.model_validate({**fields, "eval_script": "true", "eval_type": "pass_and_fail", **changes})


def test_a_tree_is_a_folder_by_id_or_a_commit_of_a_clone_and_holds_no_history(tmp_path: Path) -> None:
    clone = files_in(tmp_path / "trees/o__r")
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(clone), *words], check=True)
    (clone / "pkg/maths.py").write_text("later\n")
    (clone / "outside").symlink_to("/etc/passwd")
    for number in ("first", "second"):
        (tmp_path / number).mkdir()
    tree = tree_of(instance(), tmp_path / "trees", tmp_path / "first")
    assert tree.name == "r" and (tree / "pkg/maths.py").read_text() == BROKEN and not (tree / ".git").exists()
    with pytest.raises(HistoryError, match="has no commit"):
        tree_of(instance(base_commit="0" * 40), tmp_path / "trees", tmp_path / "second")
    with pytest.raises(HistoryError, match="holds neither o__r-1 nor a clone"):
        tree_of(instance(bug_patch=GOLD), tmp_path / "trees", tmp_path / "second")
    own = files_in(tmp_path / "trees/o__r-1")
    (own / "link").symlink_to("/etc/passwd")
    copied = tree_of(instance(bug_patch=GOLD), tmp_path / "trees", tmp_path / "second")
    assert (copied / "pkg/maths.py").exists() and not (copied / "link").exists()


def test_a_tree_out_of_an_image_has_plain_files_only(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in ("testbed/pkg/maths.py", "testbed/.git/HEAD", "testbed/../../escape"):
            member = tarfile.TarInfo(path)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"one"))
        link = tarfile.TarInfo("testbed/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    buffer.seek(0)
    with pytest.raises(tarfile.TarError):
        unpack(buffer, tmp_path / "tree")
    assert [path for path in tmp_path.rglob("*") if path.name in ("escape", "HEAD", "link")] == []
