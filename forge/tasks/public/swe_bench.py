"""Rows of SWE-bench: version 5 brings its image and grading script, the older shape (SWE-Gym's too) has them made here."""

from __future__ import annotations

from typing import Any

from forge.errors import TaskError
from forge.records import Instance
from forge.tasks.public.row import Row, image, names, patch, text
from forge.tasks.public.scripts import RUNNERS, swe_bench_script

WORKDIR = "/testbed"
_OLD = ("instance_id", "repo", "base_commit", "patch", "test_patch", "problem_statement", "FAIL_TO_PASS", "PASS_TO_PASS")


def is_version_5(row: Row) -> bool:
    """Whether the row brings its own image and script."""
    return all(name in row for name in (*_OLD, "image", "eval_script", "log_parser"))


def is_swe_bench(row: Row) -> bool:
    """Whether it is SWE-bench's older shape: the twelve repositories, or the commit of the environment."""
    return all(name in row for name in _OLD) and ("environment_setup_commit" in row or row["repo"] in RUNNERS)


def is_swe_gym(row: Row) -> bool:
    """Whether it has SWE-bench's older shape and other repositories."""
    return all(name in row for name in _OLD)


def parse_version_5(row: Row) -> Instance:
    """The instance of a row of SWE-bench 5; raises `TaskError`."""
    kind = text(row, "eval_type")
    if kind not in ("pass_and_fail", "fail_only"):
        raise TaskError("eval_type is none of swebench's")
    script = {"eval_script": text(row, "eval_script"), "log_parser": text(row, "log_parser"), "eval_type": kind}
    return _instance(row, "swe-bench-5", image(text(row, "image")), script)


def parse_swe_bench(row: Row) -> Instance:
    """The instance of a row of SWE-bench up to 4; raises `TaskError`."""
    return _old_shape(row, "swe-bench", "swebench/sweb.eval.x86_64.{}:latest", "_1776_")


def parse_swe_gym(row: Row) -> Instance:
    """The instance of a row of SWE-Gym; raises `TaskError`."""
    return _old_shape(row, "swe-gym", "xingyaoww/sweb.eval.x86_64.{}:latest", "_s_")


def old_row(instance: Instance) -> dict[str, Any]:
    """A row of the older shape, its lists of tests as JSON lists."""
    return {
        "instance_id": instance.id,
        "repo": instance.repo,
        "base_commit": instance.base_commit,
        "version": instance.version,
        "patch": instance.gold_patch,
        "test_patch": instance.test_patch,
        "problem_statement": instance.statement,
        "FAIL_TO_PASS": list(instance.fail_to_pass),
        "PASS_TO_PASS": list(instance.pass_to_pass),
    }


def version_5_row(instance: Instance) -> dict[str, Any]:
    """A row of SWE-bench 5, for any instance that is graded by a script whose log swebench can read."""
    return old_row(instance) | {
        "image": instance.image,
        "eval_script": instance.eval_script,
        "log_parser": instance.log_parser,
        "eval_type": instance.eval_type,
    }


def _old_shape(row: Row, name: str, images: str, dashes: str) -> Instance:
    tests = patch(row, "test_patch")
    script, parser = swe_bench_script(text(row, "repo"), text(row, "base_commit"), tests, WORKDIR)
    # The image's name is the instance's: lower case, and no double underscore, which registries refuse.
    found = image(images.format(text(row, "instance_id").replace("__", dashes).lower()))
    return _instance(row, name, found, {"eval_script": script, "log_parser": parser, "eval_type": "pass_and_fail"})


def _instance(row: Row, name: str, image: str, script: Row) -> Instance:
    return Instance.model_validate(
        {
            "id": text(row, "instance_id"),
            "set": name,
            "repo": text(row, "repo"),
            "base_commit": text(row, "base_commit"),
            "version": text(row, "version", empty=True),
            "image": image,
            "workdir": WORKDIR,
            "statement": text(row, "problem_statement"),
            "gold_patch": patch(row, "patch"),
            "test_patch": patch(row, "test_patch", empty=True),
            "fail_to_pass": names(row, "FAIL_TO_PASS", empty=False),
            "pass_to_pass": names(row, "PASS_TO_PASS"),
            **script,
        }
    )
