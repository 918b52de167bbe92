"""Histories made to hurt: the row is kept right or dropped with a reason, never a crash or a hang."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forge.mining.history import GitHistory
from forge.mining.row import Row
from tests.mined import EVERY_MESSAGE, Mined
from tests.small_repos import SmallRepo, practice

FIXED = b"def f(x):\n    return x + 1\n"
BROKEN = b"def f(x):\n    return x - 1\n"


class FastImport:
    """A repository written as `git fast-import` takes it: bytes that no other command lets through."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._feed: list[bytes] = []
        self._mark = 0

    def commit(
        self,
        files: dict[bytes, bytes],
        message: bytes = b"fix the sum of f",
        who: bytes = b"A <a@example.org>",
        when: bytes = b"1600000000 +0000",
        more: bytes = b"",
    ) -> FastImport:
        self._mark += 1
        parent = b"from :%d\n" % (self._mark - 1) if self._mark > 1 else b""
        head = b"commit refs/heads/main\nmark :%d\nauthor %s %s\ncommitter %s %s\n" % (self._mark, who, when, who, when)
        changes = b"".join(b"M 100644 inline %s\ndata %d\n%s\n" % (path, len(data), data) for path, data in files.items())
        self._feed.append(head + b"data %d\n%s\n" % (len(message), message) + parent + changes + more)
        return self

    def done(self) -> Path:
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(self.path)], check=True)
        command = ["git", "-C", str(self.path), "fast-import", "--quiet", "--date-format=raw-permissive"]
        subprocess.run(command, input=b"".join(self._feed), check=True)
        return self.path


def started(path: Path) -> FastImport:
    return FastImport(path).commit({b"a.py": BROKEN}, b"start it all")


def message_of_bytes(path: Path) -> Path:
    return started(path).commit({b"a.py": FIXED}, b"fix the \xff\xfe sum of f").done()


def message_with_nul(path: Path) -> Path:
    return started(path).commit({b"a.py": FIXED}, b"fix the sum\0 of f").done()


def empty_message(path: Path) -> Path:
    return started(path).commit({b"a.py": FIXED}, b"").done()


def long_message(path: Path) -> Path:
    return started(path).commit({b"a.py": FIXED}, b"fix the sum of f\n\n" + b"word " * 200_000).done()


def name_of_bytes(path: Path) -> Path:
    return started(path).commit({b"a.py": FIXED}, who=b"J\xf6rg \xff <j\xff@example.org>").done()


def name_of_nothing(path: Path) -> Path:
    return started(path).commit({b"a.py": FIXED}, who=b"<>").done()


def path_of_bytes(path: Path) -> Path:
    return started(path).commit({b'"a\\377b.py"': FIXED, b"a.py": FIXED}).done()


def path_with_newline(path: Path) -> Path:
    return started(path).commit({b'"a\\nb.py"': FIXED, b"a.py": FIXED}).done()


def path_with_quotes(path: Path) -> Path:
    return started(path).commit({b'"q\\"u\\\\o.py"': FIXED, b"a.py": FIXED}).done()


def paths_that_differ_in_case(path: Path) -> Path:
    return started(path).commit({b"A.py": BROKEN}, b"add a twin of it").commit({b"a.py": FIXED, b"A.py": FIXED}).done()


def huge_blob(path: Path) -> Path:
    return started(path).commit({b"a.py": FIXED, b"big.py": b"x = 1\n" * (100 * 2**20 // 6)}).done()


def huge_blob_beside(path: Path) -> Path:
    return started(path).commit({b"a.py": FIXED, b"big.bin": b"\0" * (100 * 2**20)}).done()


def submodule(path: Path) -> Path:
    return started(path).commit({b"a.py": FIXED}, more=b"M 160000 %s vendor\n" % (b"1" * 40)).done()


def symlink(path: Path) -> Path:
    return started(path).commit({b"a.py": FIXED}, more=b"M 120000 inline link.py\ndata 4\na.py\n").done()


def nothing_changed(path: Path) -> Path:
    return started(path).commit({}).commit({b"a.py": FIXED}).done()


def old_date(path: Path) -> Path:
    return started(path).commit({b"a.py": FIXED}, when=b"0 +0000").done()


def late_date(path: Path) -> Path:
    return started(path).commit({b"a.py": FIXED}, when=b"4294967295 +0000").done()


def mad_offset(path: Path) -> Path:
    return started(path).commit({b"a.py": FIXED}, when=b"1600000000 +9999").done()


def far_future(path: Path) -> Path:
    return started(path).commit({b"a.py": FIXED}, when=b"99999999999999 +0000").done()


def carriage_returns(path: Path) -> Path:
    return started(path).commit({b"a.py": FIXED.replace(b"\n", b"\r\n")}).done()


def lone_carriage_returns(path: Path) -> Path:
    return started(path).commit({b"a.py": b"def f(x):\n    return '\r' + x\n"}).done()


def no_last_newline(path: Path) -> Path:
    return started(path).commit({b"a.py": FIXED.rstrip()}).done()


def line_that_looks_like_a_commit(path: Path) -> Path:
    return started(path).commit({b"a.py": FIXED + b"'''\n" + b"1" * 40 + b"\ndiff --git a/a.py b/a.py\n@@ -1 +1 @@\n'''\n"}).done()


def deep_nesting(path: Path) -> Path:
    return started(path).commit({b"a.py": FIXED + b"x = " + b"(" * 3000 + b")" * 3000 + b"\n"}).done()


def octopus(path: Path) -> Path:
    repo = SmallRepo(path)
    repo.commit({"a.py": BROKEN}, "start it all")
    for number in range(3):
        repo.git("checkout", "-q", "-b", f"b{number}", "main")
        repo.commit({f"b{number}.py": BROKEN, "a.py": BROKEN}, "add one of several")
    repo.git("checkout", "-q", "main")
    repo.git("merge", "-q", "-m", "tie them together", "b0", "b1", "b2")
    repo.commit({"a.py": FIXED}, "fix the sum of f")
    return path


HOSTILE: dict[Callable[[Path], Path], str] = {
    message_of_bytes: "nothing says what was asked: unreadable characters",
    message_with_nul: "",
    empty_message: "nothing says what was asked: no message",
    long_message: "",
    name_of_bytes: "",
    name_of_nothing: "",
    path_of_bytes: "unreadable path",
    path_with_newline: "unreadable path",
    path_with_quotes: "",
    paths_that_differ_in_case: "",
    huge_blob: "file missing or over 1 MiB",
    huge_blob_beside: "",
    submodule: "link or submodule",
    symlink: "link or submodule",
    nothing_changed: "",
    old_date: "",
    late_date: "",
    mad_offset: "",
    far_future: "",
    carriage_returns: "",
    lone_carriage_returns: "",
    no_last_newline: "",
    line_that_looks_like_a_commit: "",
    deep_nesting: "",
    octopus: "",
}
"""What makes the history, and why its last commit goes; empty: it is kept, its sources exact."""


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_a_hostile_history_is_read_right_or_dropped_with_a_reason(make: Callable[[Path], Path], tmp_path: Path) -> None:
    mined = Mined(make(tmp_path / "repo"), tmp_path / "mined", EVERY_MESSAGE)
    counts = mined.counts
    assert not counts.failures
    assert counts.commits == counts.survivors + sum(counts.drops.values())
    if HOSTILE[make]:
        assert counts.drops.get(HOSTILE[make]) == 1, counts.drops
        return
    (row,) = [row for row in mined.rows if row.commit == head_of(tmp_path / "repo")]
    for file in row.files:
        assert file.after is not None and file.after.encode() == content(tmp_path / "repo", file.path)
        assert applied(file.before, file.after, file.diff)


def head_of(path: Path) -> str:
    return subprocess.run(["git", "-C", str(path), "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def content(path: Path, name: str) -> bytes:
    return subprocess.run(["git", "-C", str(path), "show", f"HEAD:{name}"], check=True, capture_output=True).stdout


def applied(before: str | None, after: str, diff: str) -> bool:
    """Whether what the hunks take out stands in `before`, and what they put in in `after`, line by line."""
    body = diff.split("\n@@", 1)[-1].split("\n")[1:]
    old = [line[1:] for line in body if line[:1] == "-"]
    new = [line[1:] for line in body if line[:1] == "+"]
    return set(old) <= set((before or "").split("\n")) and set(new) <= set(after.split("\n"))


def test_a_shallow_clone_gives_what_it_has(tmp_path: Path) -> None:
    whole = practice(tmp_path / "whole").path
    subprocess.run(["git", "clone", "-q", "--depth", "3", f"file://{whole}", str(tmp_path / "repo")], check=True)
    counts = Mined(tmp_path / "repo", tmp_path / "mined", EVERY_MESSAGE).counts
    assert 3 <= counts.commits < 10
    assert counts.commits == counts.survivors + sum(counts.drops.values())


def test_a_partial_clone_asks_nobody_for_what_it_lacks(tmp_path: Path) -> None:
    whole = practice(tmp_path / "whole").path
    subprocess.run(["git", "-C", str(whole), "config", "uploadpack.allowFilter", "true"], check=True)
    command = ["git", "clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{whole}", str(tmp_path / "repo")]
    subprocess.run(command, check=True)
    (whole / ".git").rename(whole / "gone")
    mined = Mined(tmp_path / "repo", tmp_path / "mined", EVERY_MESSAGE)
    counts = mined.counts
    assert counts.drops["file missing or over 1 MiB"] > 0
    assert counts.survivors == len(mined.rows) == 0


def test_a_repository_that_changes_while_it_is_read_is_read_as_it_was(tmp_path: Path) -> None:
    repo = practice(tmp_path / "repo")
    before = Mined(repo.path, tmp_path / "before", EVERY_MESSAGE).rows
    over = threading.Event()

    def stir() -> None:
        number = 0
        while not over.is_set():
            number += 1
            repo.commit({"pkg/apple.py": f"x = {number}\n"}, f"change apple for {number}")
            repo.git("gc", "-q", "--prune=now")
            repo.git("checkout", "-q", "-B", f"branch-{number}")

    head = GitHistory("small", repo.path)
    head.close()
    thread = threading.Thread(target=stir)
    thread.start()
    try:
        during = [Mined(repo.path, tmp_path / f"during-{n}", EVERY_MESSAGE).rows for n in range(3)]
    finally:
        over.set()
        thread.join()
    known = {row.id: told(row) for row in before}
    for rows in during:
        assert {row.id for row in rows} >= known.keys()
        assert all(told(row) == known[row.id] for row in rows if row.id in known)


def told(row: Row) -> tuple[object, ...]:
    return row.message, row.files, row.functions


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=st.binary(max_size=60).filter(lambda text: b"\n" not in text), who=st.binary(max_size=20), source=st.binary(max_size=200))
def test_any_bytes_are_read_right_or_dropped(tmp_path_factory: pytest.TempPathFactory, message: bytes, who: bytes, source: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    name = bytes(byte for byte in who if byte not in b"<>\n\0")
    path = started(folder / "repo").commit({b"a.py": source, b"b.py": FIXED}, message, b"%s <a@b.c>" % name).done()
    mined = Mined(path, folder / "mined", EVERY_MESSAGE)
    counts = mined.counts
    assert not counts.failures and counts.commits == counts.survivors + sum(counts.drops.values()) == 2
    for row in mined.rows:
        assert all(
            file.after is not None and file.after.encode() == content(path, file.path) for file in row.files if os.path.basename(file.path)
        )
