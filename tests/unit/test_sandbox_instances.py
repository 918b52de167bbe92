from __future__ import annotations

import pytest

from forge.errors import SandboxError
from forge.records import Instance
from forge.store.diffs import diff
from forge.tasks.public.sets import read_row
from sandboxes.errand import Done
from sandboxes.harness import counted, judge
from sandboxes.history import judge as judge_history
from sandboxes.status_map import differing, statuses
from tests.public_rows import GOLD, TESTS, r2e_gym, swe_bench_5

LOG = "+ : '>>>>> Start Test Output'\n{}\n+ : '>>>>> End Test Output'\n>>>>> Test Exit Code: {}\n"
BOTH = "PASSED tests/test_maths.py::test_double\nPASSED tests/test_maths.py::test_same"
CLEAN = {"objects": 4, "commits": 1, "parents": 0, "reachable": 4, "ref": "refs/heads/main", "reflog": 0}


def verdict(of: Instance, log: str, code: int = 0, breach: str = "") -> tuple[bool, str]:
    found = judge(of, Done(f"+ before\nmark ready\n{log}", code, 1.0, breach), "mark", GOLD, [])  # type: ignore[arg-type]
    assert found.weak
    return found.passed, found.reason


def test_a_log_is_judged_as_swebench_judges_it() -> None:
    of = read_row(swe_bench_5())
    assert verdict(of, LOG.format(BOTH, 0)) == (True, "all 2 tests did as they should")
    half = BOTH.replace("PASSED tests/test_maths.py::test_double", "FAILED tests/test_maths.py::test_double - assert")
    assert verdict(of, LOG.format(half, 1)) == (False, "1 of 2 tests did not do as they should, first tests/test_maths.py::test_double")
    assert verdict(of, "Segmentation fault")[1] == "its log holds no results that swebench reads; its last line: Segmentation fault"
    assert not verdict(of, LOG.format(BOTH, 1))[0]  # all passed, it says, and exits as if not
    assert verdict(of, LOG.format(BOTH, 0), breach="time") == (False, "the run breached its time limit")
    missing = read_row(swe_bench_5(eval_type="fail_only"))
    assert verdict(missing, LOG.format("PASSED other", 0))[0]


def test_only_the_first_mark_counts_and_none_is_the_boxs_failure() -> None:
    of = read_row(swe_bench_5())
    late = Done("mark ready\nmark patch\n", 1, 1.0)
    assert judge(of, late, "mark", GOLD, []).reason.startswith("its log holds no results")
    refused = judge(of, Done("error: patch failed: a.py:1\nmark patch\n", 1, 1.0), "mark", GOLD, ["conftest.py"])
    assert refused.reason == "the patch does not apply: error: patch failed: a.py:1; ignored edits of conftest.py"
    for output in ("", "bash: no such thing", "mark its bug does not apply to its image\n"):
        with pytest.raises(SandboxError, match="psf__requests-1234: "):
            judge(of, Done(output, 1, 1.0), "mark", GOLD, [])


def test_rewards_are_numbers_in_text_or_json() -> None:
    of = read_row(swe_bench_5()).model_copy(update={"eval_type": "reward"})
    for content, passed in ((b"1\n", True), (b"0.5", False), (b'{"reward": 1.0}', True), (b'{"a": 1, "b": 0}', False), (b"yes", False)):
        done = Done("mark ready\n", 0, 1.0, kept={"/logs/verifier/reward.txt": content})
        assert judge(of, done, "mark", "", []).passed == passed, content


def test_a_status_map_must_be_met_exactly() -> None:
    expected = {"Test.test_a": "PASSED", "test_b[x - y]": "FAILED"}
    log = "= short test summary info =\nPASSED r2e_tests/t.py::Test::test_a\nFAILED r2e_tests/t.py::test_b[x - y] - assert 1 == 2\n"
    assert differing(expected, log) == []
    assert differing(expected, log + "PASSED r2e_tests/t.py::test_c\n") == ["test_c"]
    assert differing(expected, log.replace("PASSED", "ERROR")) == ["Test.test_a"]
    assert differing(expected, "nothing") == ["Test.test_a", "test_b[x"]
    assert statuses(log.replace("assert 1 == 2", "RuntimeError: PASSED")) == {"Test.test_a": "PASSED", "test_b[x": "FAILED"}
    assert differing({"\x1b[1mtest_a\x1b[0m": "PASSED"}, "short test summary info\nPASSED t.py::\x1b[1mtest_a\x1b[0m\n") == []
    of = read_row(r2e_gym())
    assert verdict(of, "short test summary info\nPASSED t::test_double\nPASSED t::test_same\n") == (True, "all 2 tests did as they should")


def test_hidden_tests_and_configuration_are_kept_from_a_patch_unless_the_fix_touches_them() -> None:
    of = read_row(swe_bench_5())
    written = {"pkg/maths.py": "x\n", "tests/test_maths.py": "x\n", "setup.cfg": "x\n", "conftest.py": "x\n", "docs/a.rst": "x\n"}
    files, dropped = counted(of, diff({}, written))
    assert [file.new for file in files] == ["docs/a.rst", "pkg/maths.py"] and dropped == ["conftest.py", "setup.cfg", "tests/test_maths.py"]
    fix = of.model_copy(update={"gold_patch": GOLD + diff({}, {"setup.cfg": "y\n"}) + TESTS})
    assert counted(fix, diff({}, written))[1] == ["conftest.py", "tests/test_maths.py"]
    assert counted(of, diff({}, {"../out.py": "x\n"}))[1] == ["../out.py"]


def test_history_is_judged_by_all_that_could_hold_it() -> None:
    def judged(**changes: object) -> str:
        lines = [f"{word} {value}" for word, value in (CLEAN | changes).items()] + ["end"]
        found = judge_history("image", "\n".join(lines))
        assert found.clean == (found.reason == "one orphan commit")
        return found.reason

    assert judged() == "one orphan commit"
    assert judged(commits=12034, objects=90000) == "12034 commits; 89996 objects that its commit does not need"
    assert judged(parents=1) == "its commit has a parent"
    assert judged(ref="refs/remotes/origin/main") == "1 refs more, such as refs/remotes/origin/main"
    assert judged(reflog=2, trace="ORIG_HEAD") == "a reflog of 2 lines; ORIG_HEAD is there"
    assert judged(nested="./vendor/.git") == "a repository inside at ./vendor/.git"
    assert judge_history("image", "none").reason == "no repository"
    assert judge_history("image", "unreadable there is no git in the image").clean is False
    assert judge_history("image", "").reason == "the work tree cannot be looked at"
