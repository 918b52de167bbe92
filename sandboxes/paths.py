"""Which paths may be written into a box, and which of an agent's edits a grade ignores."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Literal

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
        "noxfile.py",
        ".coveragerc",
        "sitecustomize.py",
        "usercustomize.py",
        "pyvenv.cfg",
        "__pycache__",
    ]
)
_BINARY = (".pth", ".so", ".pyd", ".pyc", ".pyo", ".egg-link", ".egg", ".whl", ".zip")
"""Ends of names that Python imports from, or starts with, though nobody can review them."""
_TEST_FOLDERS = ("tests", "test")
_ROOTS = ("src", "lib", "python")
"""Folders that projects put on the import path."""
_SHADOWS = frozenset(sys.stdlib_module_names) | frozenset(
    [
        "pluggy",
        "iniconfig",
        "packaging",
        "py",
        "pygments",
        "hypothesis",
        "mock",
        "nose",
        "unittest2",
        "coverage",
        "xdist",
        "execnet",
        "exceptiongroup",
        "tomli",
    ]
)

Look = Callable[[str], Literal["", "file", "folder", "link"]]
"""Path → what the pristine tree has there; a path through a link counts as a link."""


def look_into(tree: Path) -> Look:
    """What the unpacked folder `tree` has at a plain path."""

    def look(path: str) -> Literal["", "file", "folder", "link"]:
        place = tree
        for part in path.split("/"):
            place = place / part
            if place.is_symlink():
                return "link"
        return "folder" if place.is_dir() else "file" if place.exists() else ""

    return look


def plain_path(path: str) -> bool:
    """Whether `path` is relative, POSIX, and stays inside: no empty part, no `.`, no `..`."""
    return bool(path) and "\0" not in path and all(part not in ("", ".", "..") for part in path.split("/"))


def graded_edits(edits: Sequence[FileEdit], tests: Collection[str], look: Look) -> tuple[list[FileEdit], list[str]]:
    """(the edits that count, the paths that were dropped): no tests, no test configuration, nothing that shadows.

    Whoever replaces or deletes a folder, or writes through a link, would take tests and configuration along: dropped too.
    """
    kept = [edit for edit in edits if edit.path not in tests and not is_dropped(edit.path, look)]
    return kept, [edit.path for edit in edits if edit not in kept]


def is_dropped(path: str, look: Look) -> bool:
    """Whether a grade ignores an edit of `path`: it could change how tests run instead of what they test.

    Source: the attacks in the measured list of forged passes (conftest hooks, ini files, customize modules, entry
    points, shadowing modules). A module nested in a package may have a standard name: it shadows nothing. Nor does one
    that the pristine tree has: then tests always ran with it.
    """
    return is_reserved(path) or look(path) in ("folder", "link") or _shadows(path, look)


def is_reserved(path: str) -> bool:
    """Whether the name alone says that a grade ignores an edit of `path`, whatever the tree has there."""
    if not plain_path(path):
        return True
    parts = path.split("/")
    name = parts[-1]
    return (
        any(part in _CONFIGURATION or part.startswith(".git") or part.endswith("-info") for part in parts)
        or any(part.endswith(_BINARY) for part in parts)
        or any(part in _TEST_FOLDERS for part in parts)
        or is_test_file(name)
    )


def is_test_file(name: str) -> bool:
    """Whether pytest would collect a file of this name."""
    return name.endswith("_test.py") or (name.startswith("test_") and name.endswith(".py"))


def _shadows(path: str, look: Look) -> bool:
    """Whether something new would be imported in place of the standard library, pytest, or what tests stand on."""
    parts = path.split("/")
    depth = 1 if parts[0] in _ROOTS and len(parts) > 1 else 0
    name = parts[depth].partition(".")[0]
    known = name in _SHADOWS or name.startswith(("pytest", "_pytest"))
    return known and not look("/".join(parts[: depth + 1]))
