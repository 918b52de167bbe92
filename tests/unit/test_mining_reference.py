"""The fast path against PyDriller, commit by commit.

A generated history of over 1,000 commits; FORGE_REAL_HISTORY names the folder of a real one that is held to the same.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest

from forge.mining.history import GitHistory
from forge.mining.pydriller_history import PyDrillerHistory
from forge.nano.repository import draw_families, generate
from forge.records import Commit, CommitSummary, Drop, FileChange
from tests.mined import EVERY_MESSAGE, Mined
from tests.small_repos import practice


def generated(folder: Path) -> Path:
    generate(folder, seed=3, name="reference", commits=1050, modules=30, difficulty=0.5, faulty=0.3, families=draw_families(3, 6))
    return folder


def awkward(folder: Path) -> Path:
    repo = practice(folder)
    repo.git("mv", "pkg/birch.py", "pkg/beech tree.py")
    repo.commit({}, "move birch\n\nwith a body\n\n- and a list\n")
    repo.git("mv", "pkg/cedar.py", "pkg/cedar_two.py")
    repo.commit(
        {"pkg/cedar_two.py": (repo.path / "pkg/cedar_two.py").read_text() + "\n\ndef late():\n    return 1\n"}, "move and change cedar"
    )
    repo.commit({'pkg/quo"te\\d.py': "x = 1\n"}, "names that git quotes")
    repo.commit({"pkg/ünï.py": "x = 'ä'\n", "pkg/empty.py": ""}, "añade cosas \N{PARTY POPPER}", author="Ünal Ö")
    repo.commit({"pkg/ünï.py": "x = 'ö'", "pkg/empty.py": "y = 1\n"}, "no newline at the end")
    repo.commit({"pkg/ünï.py": None, "pkg/windows.py": "a = 1\r\nb = 2\r\n"}, "delete one, add one with carriage returns")
    repo.commit({"pkg/windows.py": "a = 1\r\nb = 3\r\n"}, "change a line of it")
    repo.commit({"pkg/bytes.py": b"x = '\xff'\n"}, "not UTF-8")
    repo.commit({"pkg/bytes.py": b"x = '\0'\n"}, "a NUL")
    repo.commit({}, "nothing at all")
    return repo.path


HISTORIES = {"awkward": awkward, "generated": generated}


REAL = os.environ.get("FORGE_REAL_HISTORY", "")


@pytest.mark.parametrize("kind", [*HISTORIES, *(["real"] if REAL else [])])
def test_the_fast_path_reads_what_pydriller_reads(kind: str, tmp_path: Path) -> None:
    path = Path(REAL) if kind == "real" else HISTORIES[kind](tmp_path / "repo")
    fast, reference = GitHistory("r", path), PyDrillerHistory("r", path)
    everything = list(fast.summaries())
    pairs = zip(everything, reference.summaries(), strict=True)
    different = [f"{one.sha} is told otherwise" for one, other in pairs if said(one) != said(other)]
    single = [summary for summary in everything if len(summary.parents) < 2]
    readers = [history.contents(single, wanted=lambda path: path.endswith((".py", ".txt"))) for history in (fast, reference)]
    for one, other in zip(*readers, strict=True):
        different += compared(one, other)
    fast.close()
    reference.close()
    assert different == []
    assert kind == "awkward" or len(everything) > 1000


def said(summary: CommitSummary) -> tuple[object, ...]:
    """What a commit says of itself."""
    return summary.parents, summary.author_name, summary.author_email, summary.message, datetime.fromisoformat(summary.authored_at)


def compared(mine: Commit | Drop, theirs: Commit | Drop) -> list[str]:
    """What differs between two readings of a commit."""
    if isinstance(mine, Drop) or isinstance(theirs, Drop):
        return [] if mine == theirs else [f"{mine} {theirs}"]
    ours, reference = ({file.path: shown(file) for file in commit.files} for commit in (mine, theirs))
    return [f"{mine.sha} {path}" for path in ours.keys() | reference.keys() if ours.get(path) != reference.get(path)]


def shown(file: FileChange) -> tuple[str | None, ...]:
    """A file without the headers of its diff, which PyDriller leaves out; of one that only moved it has no sources."""
    hunks = file.diff[file.diff.find("\n@@") + 1 :] if "\n@@" in file.diff else ""
    moved = file.old_path is not None and not hunks
    return file.path, file.old_path, None if moved else file.before, None if moved else file.after, hunks.rstrip("\n")


def test_mining_gives_the_same_rows_with_either_reader(tmp_path: Path) -> None:
    path = practice(tmp_path / "repo").path
    rows = [Mined(path, tmp_path / reader, EVERY_MESSAGE.model_copy(update={"reader": reader})).rows for reader in ("git", "pydriller")]
    fast, slow = ([row.model_copy(update={"files": tuple(map(without_headers, row.files))}) for row in some] for some in rows)
    assert fast and fast == slow


def without_headers(file: FileChange) -> FileChange:
    return file.model_copy(update={"diff": shown(file)[-1]})
