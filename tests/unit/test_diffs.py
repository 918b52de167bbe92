from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.store.diffs import diff, joined, reversed_diff, split

CASES: dict[str, tuple[dict[str, str | None], dict[str, str | None]]] = {
    "changed": ({"a.py": "x = 1\ny = 2\n"}, {"a.py": "x = 1\ny = 3\n"}),
    "no newline before": ({"a.py": "x = 1\ny = 2"}, {"a.py": "x = 1\ny = 3\n"}),
    "no newline after": ({"a.py": "x = 1\ny = 2\n"}, {"a.py": "x = 0\ny = 2"}),
    "no newline at all": ({"a.py": "x"}, {"a.py": "y"}),
    "new file": ({}, {"pkg/new.py": "x = 1\n"}),
    "new without newline": ({}, {"pkg/new.py": "x = 1"}),
    "new and empty": ({}, {"pkg/__init__.py": ""}),
    "deleted": ({"a.py": "x = 1\n", "b.py": "y\n"}, {"b.py": "y\n"}),
    "deleted and empty": ({"a.py": ""}, {}),
    "carriage returns": ({"a.py": "x\r\ny\r\nz\n"}, {"a.py": "x\r\nw\r\nz\n"}),
    "form feed and unicode lines": ({"a.py": "x\fy\u2028z\nw\n"}, {"a.py": "x\fy\u2028zz\nw\n"}),
    "blank in the name": ({"a b/c d.py": "x\n"}, {"a b/c d.py": "y\n"}),
    "strange names": ({'ä\t"q".py': "x\n"}, {'ä\t"q".py': "y\n"}),
    "strange and empty": ({}, {"\u00e4 b.py": "", "c d.py": ""}),
    "lines like headers": ({"a.sql": "-- a\n-- b\nc\n"}, {"a.sql": "++ a\n-- b\nd\n"}),
}


def write(folder: Path, files: dict[str, str | None]) -> None:
    for path, text in files.items():
        if text is not None:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(text.encode())


def read(folder: Path) -> dict[str, str | None]:
    return {path.relative_to(folder).as_posix(): path.read_bytes().decode() for path in folder.rglob("*") if path.is_file()}


def apply(folder: Path, patch: str) -> None:
    subprocess.run(["git", "apply", "--whitespace=nowarn", "-"], cwd=folder, input=patch.encode(), check=True, timeout=20)


@pytest.mark.parametrize("name", CASES)
def test_git_applies_what_is_made_and_its_reverse(name: str, tmp_path: Path) -> None:
    before, after = CASES[name]
    write(tmp_path, before)
    patch = diff(before, after)
    apply(tmp_path, patch)
    assert read(tmp_path) == after
    apply(tmp_path, reversed_diff(patch))
    assert read(tmp_path) == before
    assert {path for file in split(patch) for path in file.paths} == before.keys() ^ after.keys() or before.keys() == after.keys()


def test_two_reversals_of_a_diff_by_git_are_the_diff(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "x = 1\ny = 2\n", "moved.py": "one\ntwo\nthree\n", "run.sh": "echo\n", "gone.py": "gone\n"})
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "start"], check=True)
    subprocess.run([*git, "mv", "moved.py", "there.py"], check=True)
    (tmp_path / "there.py").write_text("one\ntwo\nfour\n")
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "gone.py").unlink()
    (tmp_path / "a.py").write_text("x = 1\ny = 3")
    subprocess.run([*git, "add", "-A"], check=True)
    patch = subprocess.run([*git, "diff", "--cached", "-M"], check=True, capture_output=True, text=True).stdout
    assert "rename from moved.py" in patch
    subprocess.run([*git, "apply", "--index", "-"], input=reversed_diff(patch), text=True, check=True)
    assert subprocess.run([*git, "status", "--porcelain"], check=True, capture_output=True, text=True).stdout == ""
    assert reversed_diff(reversed_diff(patch)) == patch


def test_a_diff_is_split_by_file_and_joined_again() -> None:
    patch = diff({"a.py": "1\n", "tests/test_a.py": "1\n"}, {"a.py": "2\n", "tests/test_a.py": "2\n", "n.py": ""})
    files = split("Some words first.\n" + patch)
    assert [file.paths for file in files] == [("a.py",), ("n.py",), ("tests/test_a.py",)]
    assert joined(files) == patch and [file.old for file in files] == ["a.py", None, "tests/test_a.py"]


def test_a_diff_without_git_headers_is_split_too() -> None:
    files = split("--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n--- a\n+++ b\n--- a/y.py\n+++ b/y.py\n@@ -1 +1 @@\n-a\n+b\n")
    assert [file.paths for file in files] == [("x.py",), ("y.py",)]


def test_nothing_hides_between_the_files_of_a_diff_or_behind_a_header() -> None:
    honest = diff({"a.py": "1\n"}, {"a.py": "2\n"})
    hidden = "--- a/conftest.py\n+++ b/conftest.py\n@@ -0,0 +1 @@\n+x\n"
    assert [file.paths for file in split(honest + hidden + honest)] == [("a.py",), ("conftest.py",), ("a.py",)]
    other = "*** conftest.py\n--- 0 ----\n*************** 1\n! x\nIndex: setup.cfg\n0a1\n> x\n.\n"
    assert joined(split("words\n" + honest + other)).startswith(honest) and "> x" not in joined(split(honest + other))
    lying = "diff --git a/a.py b/conftest.py\nrename from a.py\nrename to setup.cfg\n--- a/b.py\n+++ b/c.py\n@@ -1 +1 @@\n-1\n+2\n"
    assert set(split(lying)[0].paths) == {"a.py", "conftest.py", "setup.cfg", "b.py", "c.py"}


def test_a_binary_file_stays_whole(tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "d b.bin").write_bytes(bytes(range(256)) * 3)
    subprocess.run([*git, "add", "-A"], check=True)
    patch = subprocess.run([*git, "diff", "--cached", "--binary"], check=True, capture_output=True, text=True).stdout
    assert joined(split(patch)) == patch and split(patch)[0].paths == ("d b.bin",)


TEXT = st.lists(st.sampled_from(["a\n", "b\n", "--- a\n", "+++ b\n", "@@ -1 +1 @@\n", "\n", "\r\n"]), max_size=12).map("".join)


@given(TEXT, TEXT, st.booleans())
def test_a_diff_is_one_file_and_two_reversals_give_it_back(before: str, after: str, cut: bool) -> None:
    patch = diff({"f": before[:-1] if cut else before}, {"f": after})
    assert len(split(patch)) == bool(patch)
    assert reversed_diff(reversed_diff(patch)) == patch
