"""Grading scripts in SWE-bench's shape, for rows that bring none: hidden tests put in place, then run between two marks.

The harness runs bash with `set -x`, so that the marks appear in the log; see `swebench.harness.utils.make_test_spec`.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from forge.store.diffs import split

START, END = ">>>>> Start Test Output", ">>>>> End Test Output"
CONDA = ("source /opt/miniconda3/bin/activate", "conda activate testbed")
_NO_TESTS = (".json", ".png", ".csv", ".txt", ".md", ".jpg", ".jpeg", ".pkl", ".yml", ".yaml", ".toml")
"""Endings of files that a test patch brings along and that no runner is given. Source: swebench's `NON_TEST_EXTS`."""


class Runner(NamedTuple):
    """How a repository's tests are run, and swebench's parser of what that prints."""

    command: str
    parser: str


PYTEST = Runner("pytest -rA", "parse_log_pytest")
RUNNERS = {
    "astropy/astropy": Runner("pytest -rA -vv -o console_output_style=classic --tb=no", "parse_log_astropy"),
    "django/django": Runner("./tests/runtests.py --verbosity 2 --settings=test_sqlite --parallel 1", "parse_log_django"),
    "matplotlib/matplotlib": Runner("pytest -rA", "parse_log_matplotlib"),
    "mwaskom/seaborn": Runner("pytest --no-header -rA", "parse_log_seaborn"),
    "pallets/flask": Runner("pytest -rA", "parse_log_flask"),
    "psf/requests": Runner("pytest -rA", "parse_log_requests"),
    "pydata/xarray": Runner("pytest -rA", "parse_log_xarray"),
    "pylint-dev/pylint": Runner("pytest -rA", "parse_log_pylint"),
    "pytest-dev/pytest": Runner("pytest -rA", "parse_log_pytest"),
    "scikit-learn/scikit-learn": Runner("pytest -rA", "parse_log_scikit"),
    "sphinx-doc/sphinx": Runner("tox --current-env -epy39 -v --", "parse_log_sphinx"),
    "sympy/sympy": Runner(
        "PYTHONWARNINGS='ignore::UserWarning,ignore::SyntaxWarning' bin/test -C --verbose",
        "parse_log_sympy",
    ),
}
"""SWE-bench's twelve repositories. The command of some differs between their versions: a row of SWE-bench 5 brings its own."""


def swe_bench_script(repo: str, base_commit: str, test_patch: str, workdir: str) -> tuple[str, str]:
    """(script, parser) for a row of SWE-bench's older shape: it runs the files that the test patch touches."""
    runner = RUNNERS.get(repo, PYTEST)
    files = [file.new for file in split(test_patch) if file.new is not None and not file.new.endswith(_NO_TESTS)]
    targets = [_django_label(path) for path in files] if repo == "django/django" else files
    run = " ".join([runner.command, *map(shlex.quote, dict.fromkeys(targets))])
    return script(workdir, base_commit, test_patch, [run], prepare=CONDA), runner.parser


def script(workdir: str, base_commit: str, test_patch: str, run: Sequence[str], *, prepare: Sequence[str] = ()) -> str:
    """Bash that restores the tests of `base_commit`, applies `test_patch`, and runs the lines of `run` between the marks."""
    return "\n".join(
        [
            "#!/bin/bash",
            "set -uxo pipefail",
            *prepare,
            f"cd {shlex.quote(workdir)}",
            *restore(base_commit, test_patch),
            *applied(test_patch),
            f": '{START}'",
            *run,
            f": '{END}'",
            "",
        ]
    )


def restore(base_commit: str, test_patch: str) -> list[str]:
    """Commands that take back whatever was done to the files that the test patch touches."""
    old = [shlex.quote(file.old) for file in split(test_patch) if file.old is not None]
    new = [shlex.quote(file.new) for file in split(test_patch) if file.old is None and file.new is not None]
    commands = [f"rm -f -- {' '.join(new)}"] if new else []
    return commands + ([f"git checkout {base_commit} -- {' '.join(old)}"] if old else [])


def applied(patch: str, options: str = "-v --whitespace=nowarn") -> list[str]:
    """Lines that apply a diff to the folder that bash is in; none for an empty one."""
    if not patch.strip():
        return []
    mark = f"EOF_{hashlib.sha256(patch.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"
    return [f"git apply {options} - <<'{mark}'", patch.removesuffix("\n"), mark]


def _django_label(path: str) -> str:
    return path.removeprefix("tests/").removesuffix(".py").replace("/", ".")
