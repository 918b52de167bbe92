from __future__ import annotations

from pathlib import Path

import pytest

from forge.config import MiningConfig
from forge.mining.changes import change_of
from forge.mining.history import GitHistory
from forge.mining.quality.mechanical import is_bot, summary_reason
from forge.mining.teaching import examples_of
from forge.records import STAGES, Commit, CommitSummary, Drop, FileChange, Symbol
from forge.stages.edits import apply_edits, parse_edits
from forge.stages.source.symbols import symbols_of
from forge.stages.stage import Change
from tests.mined import Mined
from tests.small_repos import module, practice, suite

CONFIG = MiningConfig()


def commit(before: str, after: str, message: str = "fix: total_apple starts at one", extra: tuple[FileChange, ...] = ()) -> Commit:
    return Commit(
        repo="small",
        sha="a" * 40,
        parents=("b" * 40,),
        author_name="Ada",
        author_email="ada@example.org",
        authored_at="2024-01-01T10:00:00+00:00",
        message=message,
        files=(FileChange(path="pkg/apple.py", before=before, after=after), *extra),
    )


ADDED_TEST = FileChange(path="tests/test_apple.py", before=suite("apple", without="total"), after=suite("apple"))


def taught(source: Commit, pool: tuple[Symbol, ...] = (), heldout: frozenset[str] = frozenset()) -> Change:
    change = change_of(source, lambda: pool, CONFIG, heldout)
    assert isinstance(change, Change), change
    return change


def test_a_fix_teaches_statement_symbols_hunks_and_wrong_edits_of_the_same_symbols() -> None:
    before, after = module("apple", wrong="total"), module("apple")
    change = taught(commit(before, after, extra=(ADDED_TEST,)))
    assert change.statement == "total_apple starts at one\n>>> total_apple([1, 2, 3])\n6"
    assert [symbol.key for symbol in change.touched] == ["pkg/apple.py::total_apple"]
    assert "result = 1" in change.touched[0].source and "result = 0" in change.after[0].source
    made = {edit.path: edit.content for edit in apply_edits(change.hunks, {"pkg/apple.py": before}, change.touched)}
    assert made == {"pkg/apple.py": after}
    tried = {apply_edits(attempt, {"pkg/apple.py": before}, change.touched)[0].content for attempt in change.wrong}
    assert len(tried) == CONFIG.wrong_attempts and not tried & {before, after}
    assert change.lineage.files == ("pkg/apple.py", "tests/test_apple.py")


def test_a_poor_message_is_replaced_by_a_title_from_the_symbols() -> None:
    before, after = module("apple", wrong="total"), module("apple")
    assert taught(commit(before, after, "wip", (ADDED_TEST,))).statement.splitlines()[0] == "wrong result in total_apple"
    unreadable = taught(commit(before, after, "the sum is \N{REPLACEMENT CHARACTER} wrong", (ADDED_TEST,)))
    assert unreadable.statement.splitlines()[0] == "wrong result in total_apple"


def test_a_poor_message_without_examples_asks_for_nothing_and_is_dropped() -> None:
    dropped = change_of(commit(module("apple", wrong="total"), module("apple"), "wip"), tuple, CONFIG)
    assert isinstance(dropped, Drop)
    assert dropped.reason == "nothing says what was asked"


def test_negatives_are_never_touched_nor_held_out() -> None:
    sources = {"apple": module("apple", "total"), "birch": module("birch"), "cedar": module("cedar")}
    pool = tuple(s for stem, source in sources.items() for s in symbols_of(f"pkg/{stem}.py", source))
    change = taught(commit(module("apple", "total"), module("apple")), pool, frozenset({"pkg/birch.py"}))
    assert len(change.others) == CONFIG.negatives
    assert change.offered[0] == change.touched[0] and {symbol.path for symbol in change.offered} <= {"pkg/apple.py", "pkg/cedar.py"}
    assert {symbol.path for symbol in change.others} <= {"pkg/apple.py", "pkg/cedar.py"}
    assert "pkg/apple.py::total_apple" not in {symbol.key for symbol in change.others}


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (module("apple"), module("apple").replace("+= item", "+=  item"), "formatting only"),
        (module("apple"), module("apple").replace("result", "amount"), "renames only"),
        (module("apple"), "import os\n" + module("apple").replace("result", "amount"), "changes outside functions"),
        (module("apple"), module("apple") + "\n\ndef new():\n    return 1\n", "changes outside functions"),
        (module("apple"), module("apple").replace("result = 0", "result = ("), "does not parse"),
        (module("apple"), module("apple").replace("\n", "\r\n"), "odd line ends"),
        (module("apple"), module("apple") + "def clamp_apple(x):\n    return x\n", "functions defined twice"),
    ],
)
def test_commits_that_cannot_teach_are_dropped_with_the_reason(before: str, after: str, reason: str) -> None:
    dropped = change_of(commit(before, after), tuple, CONFIG)
    assert isinstance(dropped, Drop)
    assert dropped.reason == reason


def test_the_same_commit_always_gives_the_same_wrong_edits() -> None:
    source = commit(module("apple", "total"), module("apple"))
    assert taught(source).wrong == taught(source).wrong != ()


def test_touched_symbols_that_retrieval_misses_are_offered_last() -> None:
    pool = tuple(symbols_of("pkg/birch.py", module("birch")))
    change = taught(commit(module("apple", "total"), module("apple")), pool)
    assert {symbol.key for symbol in change.offered[:-1]} == {symbol.key for symbol in pool}
    assert change.offered[-1] == change.touched[0]


def test_every_commit_of_a_history_is_either_a_row_or_counted(tmp_path: Path) -> None:
    mined = Mined(practice(tmp_path / "repo").path, tmp_path / "mined")
    counts = mined.counts
    assert counts.commits == history_length(tmp_path / "repo")
    assert counts.survivors + sum(counts.drops.values()) == counts.commits
    assert counts.teaching + sum(counts.silent.values()) == counts.survivors == len(mined.rows)
    early = {"merge": 1, "first commit": 1, "bot": 1, "no code": 1, "new files alone": 1}
    assert counts.drops == early | {"nothing says what was asked: too few words": 1}
    assert counts.silent == {"renames only": 2}
    assert {example.stage for example in mined.examples} == set(STAGES)


def history_length(path: Path) -> int:
    history = GitHistory("small", path)
    try:
        return history.count()
    finally:
        history.close()


def test_held_out_files_are_in_no_row(tmp_path: Path) -> None:
    hidden = ("pkg/birch.py", "tests/test_birch.py")
    mined = Mined(practice(tmp_path / "repo").path, tmp_path / "mined", heldout=hidden)
    assert mined.counts.drops["held out"] >= 1
    for record in [*mined.examples, *mined.rows]:
        assert "birch" not in record.model_dump_json()


def test_generation_examples_carry_edits_that_reproduce_the_commit(tmp_path: Path) -> None:
    mined = Mined(practice(tmp_path / "repo").path, tmp_path / "mined")
    rows = [row for row in mined.rows if row.change]
    assert rows
    for row in rows:
        assert row.change
        before = {file.path: file.before or "" for file in row.files}
        after = {file.path: file.after or "" for file in row.files}
        for example in examples_of(row.change, "brief"):
            if example.stage == "generation":
                made = apply_edits(parse_edits(example.completion, row.change.touched), before, row.change.touched)
                assert all(edit.content == after[edit.path] for edit in made)


def test_bots_are_known_by_whole_words() -> None:
    assert is_bot("dependabot[bot]", CONFIG.bots)
    assert is_bot("forge-bot", CONFIG.bots)
    assert not is_bot("Kate Abbott", CONFIG.bots)


def test_reverts_are_dropped_before_contents_are_read() -> None:
    summary = CommitSummary(
        repo="r", sha="a", parents=("b",), author_name="A", author_email="", authored_at="", message='Revert "fix a thing"', changes=()
    )
    assert summary_reason(summary, CONFIG) == "revert"


def test_a_wrong_name_that_is_put_right_is_no_rename() -> None:
    wrong = module("apple").replace("result += item", "result += result")
    assert wrong != module("apple")
    assert taught(commit(wrong, module("apple")), ()).hunks
