"""Which paths may be written into a box, and which of an agent's edits a grade ignores."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from forge.records import FileEdit

_CONFIGURATION = frozenset(
    [
        "conftest.py",
        "pytest.ini",
        ".pytest.ini",
        "pytest.toml",
        ".pytest.toml",
        "setup.cfg",
        "setup.py",
        "pyproject.toml",
        "tox.ini",
        ".coveragerc",
        "sitecustomize.py",
        "usercustomize.py",
        ".gitattributes",
        ".gitmodules",
        ".gitignore",
    ]
)
_SHADOWS = frozenset(sys.stdlib_module_names) | {"pytest", "_pytest", "pluggy", "iniconfig", "packaging", "py", "pygments"}


def plain_path(path: str) -> bool:
    """Whether `path` is relative, POSIX, and stays inside: no empty part, no `.`, no `..`."""
    return bool(path) and "\0" not in path and all(part not in ("", ".", "..") for part in path.split("/"))


def graded_edits(edits: Sequence[FileEdit], tests: Collection[str]) -> tuple[list[FileEdit], list[str]]:
    """(the edits that count, the paths that were dropped): no tests, no test configuration, nothing that shadows."""
    kept = [edit for edit in edits if edit.path not in tests and not is_dropped(edit.path)]
    return kept, [edit.path for edit in edits if edit not in kept]


def is_dropped(path: str) -> bool:
    """Whether a grade ignores an edit of `path`: it could change how tests run instead of what they test.

    Source: the attacks in the measured list of forged passes (conftest hooks, ini files, customize modules, entry
    points, shadowing modules). A module nested in a package may have a standard name: it shadows nothing.
    """
    if not plain_path(path):
        return True
    parts = PurePosixPath(path).parts
    name = parts[-1]
    return (
        name in _CONFIGURATION
        or name.endswith((".pth", ".so", ".pyc", ".egg-link"))
        or any(part in (".git", "__pycache__") or part.endswith(("-info", ".egg")) for part in parts)
        or any(part in ("tests", "test") for part in parts[:-1])
        or is_test_file(name)
        or parts[0].removesuffix(".py") in _SHADOWS
        or (parts[0] == "src" and len(parts) > 1 and parts[1].removesuffix(".py") in _SHADOWS)
    )


def is_test_file(name: str) -> bool:
    """Whether pytest would collect a file of this name."""
    return name.endswith("_test.py") or (name.startswith("test_") and name.endswith(".py"))
