"""Small rows in the shape of each public set, made by hand from its schema: one function with a bug, and its tests.

A real repository with all of it lies behind them, so that whoever has an image of `FILES` can run them for real.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from forge.store.diffs import diff

BROKEN = "def double(x):\n    return x + 2\n\n\ndef same(x):\n    return x\n"
FIXED = BROKEN.replace("x + 2", "2 * x")
OLD_TESTS = "from pkg.maths import same\n\n\ndef test_same():\n    assert same(3) == 3\n"
NEW_TESTS = (
    "from pkg.maths import double, same\n\n\ndef test_same():\n    assert same(3) == 3\n\n\ndef test_double():\n    assert double(3) == 6\n"
)
FILES = {"pkg/__init__.py": "", "pkg/maths.py": BROKEN, "tests/test_maths.py": OLD_TESTS, "README.md": "A package.\n"}
GOLD = diff({"pkg/maths.py": BROKEN}, {"pkg/maths.py": FIXED})
TESTS = diff({"tests/test_maths.py": OLD_TESTS}, {"tests/test_maths.py": NEW_TESTS})
FAILING, PASSING = ["tests/test_maths.py::test_double"], ["tests/test_maths.py::test_same"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def swe_bench(**changes: Any) -> dict[str, Any]:
    return {
        "repo": "psf/requests",
        "instance_id": "psf__requests-1234",
        "base_commit": COMMIT,
        "patch": GOLD,
        "test_patch": TESTS,
        "problem_statement": "double(3) is 5",
        "hints_text": "Look at `double`.",
        "created_at": "2014-02-14T22:15:56Z",
        "version": "2.3",
        "FAIL_TO_PASS": json.dumps(FAILING),
        "PASS_TO_PASS": json.dumps(PASSING),
        "environment_setup_commit": COMMIT[::-1],
    } | changes


def swe_bench_5(image: str = "swebench/sweb.eval.x86_64.psf_1776_requests-1234:latest", **changes: Any) -> dict[str, Any]:
    lines = [
        "#!/bin/bash",
        "set -uxo pipefail",
        "cd /testbed",
        "git apply -v - <<'EOF_114329324912'",
        TESTS.rstrip("\n"),
        "EOF_114329324912",
    ]
    lines += [": '>>>>> Start Test Output'", "python3 -m pytest -rA tests/test_maths.py", ": '>>>>> End Test Output'", ""]
    script = {"image": image, "eval_script": "\n".join(lines), "log_parser": "parse_log_pytest", "eval_type": "pass_and_fail"}
    return swe_bench() | {"difficulty": "<15 min fix", "image_assets": None} | script | changes


def swe_gym(**changes: Any) -> dict[str, Any]:
    row = swe_bench(repo="getmoto/moto", instance_id="getmoto__moto-5752", FAIL_TO_PASS=FAILING, PASS_TO_PASS=PASSING, version="4.0")
    del row["environment_setup_commit"]
    return row | changes


def swe_smith(**changes: Any) -> dict[str, Any]:
    return {
        "instance_id": "oauthlib__oauthlib.1fd52536.combine_file__09vlzwgc",
        "patch": diff({"pkg/maths.py": FIXED}, {"pkg/maths.py": BROKEN}),
        "FAIL_TO_PASS": FAILING,
        "PASS_TO_PASS": PASSING,
        "created_at": None,
        "image_name": "jyangballin/swesmith.x86_64.oauthlib_1776_oauthlib.1fd52536",
        "repo": "swesmith/oauthlib__oauthlib.1fd52536",
        "base_commit": COMMIT,
        "problem_statement": "",
    } | changes


def r2e_gym(**changes: Any) -> dict[str, Any]:
    return {
        "repo_name": "aiohttp",
        "docker_image": f"namanjain12/aiohttp_final:{COMMIT}",
        "commit_hash": COMMIT,
        "parsed_commit_content": json.dumps(
            {
                "file_diffs": [_parsed("pkg/maths.py", "    return x + 2", "    return 2 * x"), _parsed("tests/test_maths.py", "a", "b")],
                "old_commit_hash": f"{COMMIT}^",
                "new_commit_hash": COMMIT,
                "commit_message": "Double for real",
                "commit_date": "2019-05-01T10:00:00+02:00",
            }
        ),
        "execution_result_content": json.dumps({"repo_name": "aiohttp", "new_commit_hash": COMMIT}),
        "modified_files": ["pkg/maths.py"],
        "modified_entity_summaries": [{"ast_type_str": "function", "start_lineno": 1, "end_lineno": 2}],
        "relevant_files": ["pkg/maths.py"],
        "num_non_test_files": 1,
        "num_non_test_func_methods": 1,
        "num_non_test_lines": 2,
        "prompt": "the prompt",
        "problem_statement": "[ISSUE]\ndouble(3) is 5\n[/ISSUE]",
        "expected_output_json": json.dumps({"test_double": "PASSED", "test_same": "PASSED"}),
    } | changes


def swe_rebench_v2(**changes: Any) -> dict[str, Any]:
    return {
        "base_commit": COMMIT,
        "created_at": 1609298073000,
        "image_name": "docker.io/swerebenchv2/someone-testbed:1925-0123456",
        "instance_id": "someone__testbed-1925",
        "interface": "",
        "language": "python",
        "license": "MIT",
        "meta": {"llm_metadata": {"code": "A", "confidence": 0.97, "external_urls": []}, "num_modified_files": 1, "pr_url": None},
        "patch": GOLD,
        "pr_description": "Double for real",
        "problem_statement": "double(3) is 5",
        "repo": "someone/testbed",
        "test_patch": TESTS,
        "FAIL_TO_PASS": FAILING,
        "PASS_TO_PASS": PASSING,
        "install_config": {
            "base_image_name": "python_base_310",
            "install": ["pip install -e ."],
            "log_parser": "parse_log_pytest",
            "test_cmd": "python3 -m pytest -rA --tb=no tests/test_maths.py",
        },
    } | changes


ROWS = {
    "swe-bench": swe_bench,
    "swe-bench-5": swe_bench_5,
    "swe-gym": swe_gym,
    "swe-smith": swe_smith,
    "r2e-gym": r2e_gym,
    "swe-rebench-v2": swe_rebench_v2,
}


def harbor_folder(folder: Path, *, image: str = "") -> Path:
    """A task folder of Harbor's in `folder`."""
    named = f'docker_image = "{image}"\n' if image else ""
    files = {
        "task.toml": f'version = "1.0"\n\n[metadata]\ndifficulty = "easy"\n\n[environment]\n{named}cpus = 1\n',
        "instruction.md": "Make `double` double.\n",
        "environment/Dockerfile": "FROM python:3.11-slim\nWORKDIR /testbed\nCOPY . .\n",
        "tests/test.sh": "#!/bin/bash\ncd /testbed\nmkdir -p /logs/verifier\ncp /tests/test_maths.py tests/\n"
        "if python3 -m pytest -q tests; then echo 1 > /logs/verifier/reward.txt; else echo 0 > /logs/verifier/reward.txt; fi\n",
        "tests/test_maths.py": NEW_TESTS,
        "solution/solve.sh": "#!/bin/bash\nsed -i 's/x + 2/2 * x/' /testbed/pkg/maths.py\n",
    }
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
        (folder / path).chmod(0o755 if path.endswith(".sh") else 0o644)
    (folder / "tests/data.bin").write_bytes(bytes(range(256)))
    return folder


def _parsed(path: str, old: str, new: str) -> dict[str, Any]:
    lines = [("context", "def double(x):"), ("deleted", old), ("added", new), ("context", "")]
    return {
        "old_file_content": "",
        "new_file_content": "",
        "header": {"file": {"path": path}, "misc_line": None},
        "index_line": {"old_commit_hash": "aaaaaaa", "new_commit_hash": "bbbbbbb", "mode": "100644"},
        "is_binary_file": False,
        "binary_line": None,
        "plus_file": {"path": f"b/{path}"},
        "minus_file": {"path": f"a/{path}"},
        "hunks": [
            {
                "descriptor": {"old_range": {"start": 1, "length": 3}, "new_range": {"start": 1, "length": 3}, "section": ""},
                "line_group": {"all_lines": [{"content": content, "type": kind} for kind, content in lines]},
                "modified_entities": [],
                "added_entities": [],
                "deleted_entities": [],
            }
        ],
    }
