"""Rows of SWE-rebench V2: many languages, an image and a test command each, the repository in a folder of its name."""

from __future__ import annotations

from typing import Any

from forge.errors import TaskError
from forge.records import Instance
from forge.tasks.public.row import Row, image, mapping, names, patch, text
from forge.tasks.public.scripts import END, START, applied

_APPLY = "-v --3way --recount --ignore-space-change --whitespace=nowarn"


def is_swe_rebench(row: Row) -> bool:
    """Whether it brings an image and a configuration with a test command."""
    return all(name in row for name in ("instance_id", "image_name", "install_config", "test_patch"))


def parse(row: Row) -> Instance:
    """The instance of a row; raises `TaskError`."""
    settings = mapping(row, "install_config")
    tests, workdir = patch(row, "test_patch"), f"/{text(row, 'repo').split('/')[-1]}"
    run = settings.get("test_cmd")
    commands = [run] if isinstance(run, str) else run
    if not isinstance(commands, list) or not commands or not all(isinstance(command, str) for command in commands):
        raise TaskError("install_config has no test_cmd")
    lines = ["#!/bin/bash", "set -uxo pipefail", f"cd {workdir}", *applied(tests, _APPLY), f": '{START}'", *commands, f": '{END}'", ""]
    return Instance(
        id=text(row, "instance_id"),
        set="swe-rebench-v2",
        repo=text(row, "repo"),
        base_commit=text(row, "base_commit"),
        image=image(text(row, "image_name")),
        workdir=workdir,
        statement=text(row, "problem_statement"),
        gold_patch=patch(row, "patch"),
        test_patch=tests,
        fail_to_pass=names(row, "FAIL_TO_PASS", empty=False),
        pass_to_pass=names(row, "PASS_TO_PASS"),
        eval_script="\n".join(lines),
        eval_type="pass_and_fail",
        log_parser=text(settings, "log_parser"),
    )


def row(instance: Instance) -> dict[str, Any]:
    """What the row says that the instance says too; its configuration is among the instance's `fields`."""
    return {
        "instance_id": instance.id,
        "repo": instance.repo,
        "base_commit": instance.base_commit,
        "patch": instance.gold_patch,
        "test_patch": instance.test_patch,
        "problem_statement": instance.statement,
        "FAIL_TO_PASS": list(instance.fail_to_pass),
        "PASS_TO_PASS": list(instance.pass_to_pass),
        "image_name": instance.image,
    }
