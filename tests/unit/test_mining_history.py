from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest
from pydriller import Repository

from forge.errors import HistoryError
from forge.mining.history import GitHistory
from forge.records import Commit, Drop
from tests.mined import EVERY_MESSAGE, Mined
from tests.small_repos import SmallRepo, practice


def read_all(path: Path) -> list[Commit | Drop]:
    history = GitHistory("small", path)
    try:
        return [history.commit(summary) for summary in history.summaries()]
    finally:
        history.close()


def awkward(path: Path) -> SmallRepo:
    repo = practice(path)
    repo.git("mv", "pkg/birch.py", "pkg/beech tree.py")
    repo.commit({}, "move birch\n\nwith a body\n\n- and a list\n")
    repo.commit({"pkg/cedar.py": None}, "drop cedar")
    repo.commit({"pkg/ünï.py": "x = 'ä'\n", "tab\there.txt": "x"}, "añade cosas \N{PARTY POPPER}", author="Ünal Ö")
    repo.commit({}, "nothing at all")
    repo.commit({"pkg/dune.py": "x = 1\n"}, "")
    return repo


def test_fast_history_agrees_with_pydriller_commit_by_commit(tmp_path: Path) -> None:
    awkward(tmp_path / "repo")
    mine = {commit.sha: commit for commit in read_all(tmp_path / "repo") if isinstance(commit, Commit)}
    theirs = list(Repository(str(tmp_path / "repo")).traverse_commits())
    assert len(theirs) == len(mine) == 17
    for reference in theirs:
        commit = mine[reference.hash]
        assert commit.message == reference.msg
        assert (commit.author_name, commit.author_email) == (reference.author.name, reference.author.email)
        assert datetime.fromisoformat(commit.authored_at) == reference.author_date
        assert datetime.fromisoformat(commit.authored_at).utcoffset() == reference.author_date.utcoffset()
        assert list(commit.parents) == reference.parents
        if reference.merge:
            continue
        # PyDriller gives None for the source of an empty file, and for both sources of a file that only moved.
        wanted = {
            m.new_path or m.old_path: (m.source_code_before, m.source_code) for m in reference.modified_files if m.filename.endswith(".py")
        }
        found = {file.path: (file.before or None, file.after or None) for file in commit.files}
        moved = {file.path: (None, None) for file in commit.files if file.old_path and file.before == file.after}
        assert found | moved == {path: (before or None, after or None) for path, (before, after) in wanted.items()}
        renames = {(m.old_path, m.new_path) for m in reference.modified_files if m.change_type.name == "RENAME"}
        assert {(f.old_path, f.path) for f in commit.files if f.old_path} == renames


def test_changed_lines_are_those_of_the_diff(tmp_path: Path) -> None:
    awkward(tmp_path / "repo")
    history = GitHistory("small", tmp_path / "repo")
    reference = {c.hash: c.lines for c in Repository(str(tmp_path / "repo")).traverse_commits() if not c.merge}
    assert history.changed_lines(list(reference)) == reference
    history.close()


def test_a_range_of_summaries_is_a_slice_of_all(tmp_path: Path) -> None:
    awkward(tmp_path / "repo")
    history = GitHistory("small", tmp_path / "repo")
    everything = list(history.summaries())
    assert history.count() == len(everything)
    assert list(history.summaries(3, 5)) == everything[3:8]
    history.close()


def test_tree_holds_the_files_of_that_commit(tmp_path: Path) -> None:
    repo = SmallRepo(tmp_path / "repo")
    first = repo.commit({"a/b.py": "one\n", "c.txt": b"\xff\x00"})
    repo.commit({"a/b.py": "two\n"})
    history = GitHistory("small", repo.path)
    assert history.tree(first) == {"a/b.py": b"one\n", "c.txt": b"\xff\x00"}
    assert history.tree(history.head)["a/b.py"] == b"two\n"
    history.close()


@pytest.mark.parametrize(
    ("prepare", "sentence"), [("missing", "is no folder"), ("plain", "is not a git repository"), ("empty", "has no commit")]
)
def test_a_repository_that_cannot_be_mined_gets_one_sentence(tmp_path: Path, prepare: str, sentence: str) -> None:
    path = tmp_path / "repo"
    if prepare == "plain":
        path.mkdir()
    if prepare == "empty":
        SmallRepo(path)
    with pytest.raises(HistoryError, match=sentence) as caught:
        GitHistory("small", path)
    assert "\n" not in str(caught.value)


def test_hostile_contents_become_counted_drops(tmp_path: Path) -> None:
    repo = practice(tmp_path / "repo")
    good = (repo.path / "pkg/apple.py").read_bytes()
    repo.commit({"pkg/apple.py": good.replace(b"result", b"r\xff")}, "not utf-8 at all")
    repo.commit({"pkg/apple.py": good}, "back to good once")
    repo.commit({"pkg/apple.py": good + b"\0"}, "a NUL at the end")
    repo.commit({"pkg/apple.py": good}, "back to good twice")
    repo.commit({"pkg/apple.py": good + b"# " + b"x" * 2**20}, "a very long comment")
    repo.commit({"pkg/apple.py": good.replace(b"\n", b"\r\n")}, "carriage returns come in")
    repo.commit({"pkg/apple.py": "def f(:\n"}, "a syntax error comes in")
    repo.commit({"pkg/apple.py": "x = " + "(" * 3000 + ")" * 3000 + "\n"}, "deep brackets come in")
    (repo.path / "pkg/link.py").symlink_to("apple.py")
    repo.commit({"pkg/apple.py": good}, "a link comes in")
    os.unlink(repo.path / "pkg/link.py")
    repo.git("update-index", "--add", "--cacheinfo", "160000," + "1" * 40 + ",vendor")
    repo.commit({"pkg/apple.py": good.replace(b"result", b"sum_")}, b"message \xff of bytes".decode("latin-1"))
    counts = Mined(repo.path, tmp_path / "mined", EVERY_MESSAGE).counts
    assert counts.commits == sum(counts.drops.values()) + counts.survivors
    for reason in ("not UTF-8", "binary content", "file missing or over 1 MiB", "link or submodule"):
        assert counts.drops[reason] >= 1, counts.drops
    assert counts.silent["odd line ends"] + counts.silent["does not parse"] >= 2


def test_repository_configuration_cannot_start_programs(tmp_path: Path) -> None:
    repo = practice(tmp_path / "repo")
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    for key in ("diff.external", "core.fsmonitor", "gpg.program", "core.pager", "diff.py.textconv", "diff.py.command"):
        repo.git("config", key, str(trap))
    repo.git("config", "log.showSignature", "true")
    (repo.path / ".git/info").mkdir(exist_ok=True)
    (repo.path / ".git/info/attributes").write_text("*.py diff=py\n")
    assert Mined(repo.path, tmp_path / "mined").counts.survivors > 0
    assert not (tmp_path / "sprung").exists()
