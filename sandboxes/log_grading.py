"""swebench's own reading of a log, and its own script: the one module that imports it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from swebench.harness.constants import FAIL_TO_PASS, PASS_TO_PASS
from swebench.harness.grading import get_eval_report
from swebench.harness.log_parsers import PARSER_REGISTRY
from swebench.harness.utils import make_test_spec
from swebench.types import TestSpec

from forge.errors import TaskError
from forge.records import Instance, Record


class LogGrade(Record):
    """What swebench makes of a log: solved, which of the named tests did not do as they should, and why if it cannot tell."""

    solved: bool
    failed: tuple[str, ...] = ()
    doubt: str = ""


def graded_script(instance: Instance) -> str:
    """The instance's script as swebench runs it: it also tells how the test command exited. Raises `TaskError`."""
    return str(_spec(instance).eval_script)


def grade_log(instance: Instance, log: str, patch: str) -> LogGrade:
    """swebench's grade of what its script printed; raises `TaskError` for a parser that swebench does not have."""
    prediction = {"instance_id": instance.id, "model_name_or_path": "forge", "model_patch": patch}
    with tempfile.TemporaryDirectory(prefix="forge-log-") as folder:
        path = Path(folder) / "log"
        path.write_text(log, encoding="utf-8", errors="replace")
        report: dict[str, Any] = get_eval_report(_spec(instance), prediction, str(path), include_tests_status=True)[instance.id]
    if not report["patch_successfully_applied"]:
        return LogGrade(solved=False, doubt="its log holds no results that swebench reads")
    failed = [name for kind in (FAIL_TO_PASS, PASS_TO_PASS) for name in report["tests_status"][kind]["failure"]]
    return LogGrade(solved=bool(report["resolved"]), failed=tuple(failed))


def _spec(instance: Instance) -> TestSpec:
    if instance.log_parser not in PARSER_REGISTRY:
        raise TaskError(f"swebench has no {instance.log_parser or 'log parser for it'}")
    return make_test_spec(
        {
            "instance_id": instance.id,
            "image": instance.image,
            "repo": instance.repo,
            "version": instance.version,
            "eval_script": instance.eval_script,
            "log_parser": instance.log_parser,
            "eval_type": instance.eval_type,
            FAIL_TO_PASS: list(instance.fail_to_pass),
            PASS_TO_PASS: list(instance.pass_to_pass),
        }
    )
