"""Rows of SWE-smith: `patch` plants the bug into a healthy repository, so gold is its reverse and no tests are added."""

from __future__ import annotations

import shlex
from typing import Any

from forge.records import Instance
from forge.store.diffs import reversed_diff
from forge.tasks.public.row import Row, image, names, patch, text
from forge.tasks.public.scripts import CONDA, script

WORKDIR = "/testbed"
_OWNER = "jyangballin/"
_RUN = "pytest -rA --disable-warnings --color=no --tb=no"


def is_swe_smith(row: Row) -> bool:
    """Whether its image is one of SWE-smith's."""
    return "swesmith" in str(row.get("image_name", "")) and "patch" in row and "test_patch" not in row


def parse(row: Row) -> Instance:
    """The instance of a row; raises `TaskError`. Early rows name the image without its owner, with double underscores."""
    bug = patch(row, "patch")
    failing, passing = names(row, "FAIL_TO_PASS", empty=False), names(row, "PASS_TO_PASS")
    files = dict.fromkeys(name.partition("::")[0] for name in (*failing, *passing))
    run = " ".join([_RUN, *map(shlex.quote, files)])
    found = text(row, "image_name").replace("__", "_1776_").lower()
    return Instance(
        id=text(row, "instance_id"),
        set="swe-smith",
        repo=text(row, "repo"),
        base_commit=text(row, "base_commit", empty=True),
        image=image(found if "/" in found else _OWNER + found),
        workdir=WORKDIR,
        statement=text(row, "problem_statement", empty=True),
        gold_patch=reversed_diff(bug),
        bug_patch=bug,
        fail_to_pass=failing,
        pass_to_pass=passing,
        eval_script=script(WORKDIR, "HEAD", "", [run], prepare=CONDA),
        eval_type="pass_and_fail",
        log_parser="parse_log_pytest",
    )


def row(instance: Instance) -> dict[str, Any]:
    """The row of an instance."""
    return {
        "instance_id": instance.id,
        "repo": instance.repo,
        "patch": instance.bug_patch,
        "FAIL_TO_PASS": list(instance.fail_to_pass),
        "PASS_TO_PASS": list(instance.pass_to_pass),
        "image_name": instance.image,
        "base_commit": instance.base_commit,
        "problem_statement": instance.statement,
    }
