"""Rows of R2E-Gym: no lists of tests but the status of every test after the fix; the fix as a parsed commit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from forge.errors import TaskError
from forge.records import Instance
from forge.stages.source.symbols import is_test_path
from forge.store.diffs import joined, split
from forge.tasks.public.row import Row, image, mapping, text
from forge.tasks.public.scripts import END, START

WORKDIR = "/testbed"
_SIGNS = {"context": " ", "added": "+", "deleted": "-"}
_SCRIPT = f"""#!/bin/bash
set -uxo pipefail
cd {WORKDIR}
for tests in /r2e_tests ~root/r2e_tests; do
    if [ -d "$tests" ]; then rm -rf r2e_tests; cp -a "$tests" r2e_tests; break; fi
done
runner=run_tests.sh
[ -f ~root/run_tests.sh ] && runner=~root/run_tests.sh
: '{START}'
bash "$runner"
: '{END}'
"""
"""The image brings tests and runner; both are kept out of the agent's reach, and put back for the grade."""


def is_r2e_gym(row: Row) -> bool:
    """Whether it has a map of statuses and the parsed commit."""
    return all(name in row for name in ("docker_image", "expected_output_json", "parsed_commit_content"))


def parse(row: Row) -> Instance:
    """The instance of a row; raises `TaskError`. Its id is made as the set's own tools make it: name and commit."""
    expected = mapping(row, "expected_output_json")
    if not expected or not all(isinstance(status, str) for status in expected.values()):
        raise TaskError("expected_output_json names no test")
    commit = mapping(row, "parsed_commit_content")
    sha = text(row, "commit_hash")
    return Instance(
        id=f"{text(row, 'repo_name')}__{sha[:10]}",
        set="r2e-gym",
        repo=text(row, "repo_name"),
        base_commit=str(commit.get("old_commit_hash") or sha),
        image=image(text(row, "docker_image")),
        workdir=WORKDIR,
        statement=text(row, "problem_statement"),
        gold_patch=_gold(commit),
        expected={str(name): status for name, status in expected.items()},
        eval_script=_SCRIPT,
        eval_type="status_map",
    )


def row(instance: Instance) -> dict[str, Any]:
    """What the row says that the instance says too; the parsed commit is among the instance's `fields`."""
    return {
        "repo_name": instance.repo,
        "docker_image": instance.image,
        "problem_statement": instance.statement,
        "expected_output_json": json.dumps(instance.expected),
    }


def _gold(commit: Mapping[str, Any]) -> str:
    """The commit's diff without its tests, which the image has already."""
    try:
        whole = "".join(_file(entry) for entry in commit["file_diffs"] if not entry.get("is_binary_file"))
    except (KeyError, TypeError, AttributeError):
        raise TaskError("parsed_commit_content is not a parsed commit") from None
    files = [file for file in split(whole) if not all(is_test_path(path) for path in file.paths)]
    if not files:
        raise TaskError("the commit changes nothing but tests")
    return joined(files)


def _file(entry: Mapping[str, Any]) -> str:
    path = entry["header"]["file"]["path"]
    lines = [f"diff --git a/{path} b/{path}"]
    if extra := entry["header"].get("misc_line"):
        lines.append(str(extra))
    if entry["hunks"]:
        old, new = entry.get("minus_file"), entry.get("plus_file")
        lines += [f"--- {old['path'] if old else '/dev/null'}", f"+++ {new['path'] if new else '/dev/null'}"]
    for hunk in entry["hunks"]:
        old, new = hunk["descriptor"]["old_range"], hunk["descriptor"]["new_range"]
        section = hunk["descriptor"].get("section") or ""
        lines.append(f"@@ -{_range(old)} +{_range(new)} @@{' ' + section.strip() if section.strip() else ''}")
        lines += [_line(line) for line in hunk["line_group"]["all_lines"]]
    return "\n".join(lines) + "\n"


def _line(line: Mapping[str, str]) -> str:
    sign = _SIGNS.get(line["type"])
    return sign + line["content"] if sign else "\\ No newline at end of file"


def _range(side: Mapping[str, Any]) -> str:
    return str(side["start"]) if side.get("length") in (None, 1) else f"{side['start']},{side['length']}"
