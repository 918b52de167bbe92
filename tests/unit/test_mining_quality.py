from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.config import (
    ContaminationConfig,
    DuplicatesConfig,
    LicencesConfig,
    MessagesConfig,
    MiningConfig,
    OutliersConfig,
    PrivacyConfig,
    SplitConfig,
)
from forge.errors import ConfigError
from forge.mining.quality.benchmarks import load_sets
from forge.mining.quality.contamination import Benchmarks, grams
from forge.mining.quality.duplicates import Aged, duplicates, fingerprint_of
from forge.mining.quality.licences import UNKNOWN, file_licence, refused, repository_licence, row_licence
from forge.mining.quality.mechanical import content_reason, is_kept, is_merely, means_the_same, reverted_by, summary_reason
from forge.mining.quality.messages import cleaned, foreign, poor
from forge.mining.quality.outliers import Size, outliers
from forge.mining.quality.privacy import STAND_INS, Scanner, personal_in, secrets_in
from forge.mining.quality.sides import Placed, sides
from forge.mining.quality.taggers import PartOfSpeech
from forge.mining.row import Row
from forge.records import Commit, CommitSummary, FileChange, PathChange
from forge.store.diffs import diff

CONFIG = MiningConfig()
LICENSE = Path(__file__).resolve().parents[2] / "LICENSE"


# Messages.


@pytest.mark.parametrize(
    ("message", "text", "kind", "issues"),
    [
        ("fix(parser)!: accept dashes (#12)\n\nSigned-off-by: A <a@b.c>", "accept dashes", "fix", (12,)),
        ("Docs: explain remap. Fixes #3, #4", "explain remap", "docs", (3, 4)),
        ("[pre-commit.ci] update hooks [skip ci]", "update hooks", "", ()),
        ("iterutils: chunk lazily...", "chunk lazily", "", ()),
        ("Merge things (GH-7)\n\nWhy: they are two.\n\n\n\nCo-authored-by: B <b@c.d>", "Merge things\n\nWhy: they are two.", "", (7,)),
        ("proposed solution for #33", "proposed solution", "", (33,)),
        ("move _CUR_DIR into the test, fixes #229", "move _CUR_DIR into the test", "", (229,)),
        ("See #279. Update `pluck`", "Update `pluck`", "", (279,)),
        (":bug: handle None", "handle None", "", ()),
        ("https://example.org/x is broken", "https://example.org/x is broken", "", ()),
    ],
)
def test_messages_lose_their_ceremony(message: str, text: str, kind: str, issues: tuple[int, ...]) -> None:
    found = cleaned(message)
    assert (found.kind, found.issues) == (kind, issues)
    assert found.text.lstrip(". ") == text


@given(st.text(st.sampled_from("fix: #12()[] ab\nSigned-off-by.…!"), max_size=60))
def test_cleaning_again_changes_nothing(message: str) -> None:
    assert cleaned(cleaned(message).text).text == cleaned(message).text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("fix the parser", ""),
        ("properly quote column names", ""),
        ("adding GCToggler to gcutils", ""),
        ("parse_date accepts dashes now", ""),
        ("test memoize on curry", ""),
        ("Pluralize words ending in x", ""),
        ("wip", "too few words"),
        ("more tests for x", "no verb and object"),
        ("early work on many-to-many", "no verb and object"),
        ("update median calculation slightly", "vague"),
        ("all tests passing, time to clean up", "vague"),
        ("clean up imports a bit", "vague"),
        ("working on the LRU", "vague"),
        ("clean up", "too few words"),
        ("address review comments of Bob", "vague"),
        ("fix various things in the loader", "vague"),
        ("fix the CI build of wheels", "vague"),
        ("fix some warnings from clippy", "vague"),
        ("extend help text", "vague"),
        ("update usage and man page", "vague"),
        ("fix description of smart-case in help text", ""),
        ("remove moot comments", "vague"),
        ("fix exceptions caused by the last commit", "vague"),
        ("improve the `searchParams` option", "vague"),
        ("change handling of commas in quoted fields", ""),
        ("add coverage for optional hooks", "vague"),
        ("update manager.py", "vague"),
        ("update manager.py to close its files", ""),
        ("should work now", "no verb and object"),
        ("fix the \ufffd parser", "unreadable characters"),
        ("Behebe den Fehler beim Einlesen der Zeilen", "in another language (de)"),
        ("修复解析器的错误 修复解析器的错误 修复解析器的错误", "in another language (zh)"),
    ],
)
def test_poor_messages_are_told_from_good_ones(text: str, reason: str) -> None:
    assert poor(text, CONFIG, PartOfSpeech(CONFIG.messages)) == reason


def test_short_subjects_full_of_names_are_not_taken_for_another_language() -> None:
    assert [
        text for text in ("fix README.md", "update docs", "Add dissoc to curried namespace", "bump numpy") if foreign(text, ("en",))
    ] == []


def test_a_tagger_that_is_not_there_is_said_so() -> None:
    with pytest.raises(ConfigError, match="spacy download"):
        PartOfSpeech(MessagesConfig(tagger="spacy"))


# On sight.


def summary(message: str = "fix the parser", paths: tuple[str, ...] = ("a.py",), **fields: object) -> CommitSummary:
    changes = tuple(PathChange(path=path, status="M", old_mode="100644", mode="100644", old_blob="1" * 40, blob="2" * 40) for path in paths)
    return CommitSummary(
        **{
            "repo": "r",
            "sha": "a" * 40,
            "parents": ("b" * 40,),
            "author_name": "Ada",
            "author_email": "ada@example.org",
            "authored_at": "2020-01-01T00:00:00+00:00",
            "message": message,
            "changes": changes,
            **fields,
        }
    )


@pytest.mark.parametrize(
    ("commit", "reason"),
    [
        (summary(), ""),
        (summary(parents=("b" * 40, "c" * 40)), "merge"),
        (summary(parents=()), "first commit"),
        (summary(author_name="dependabot[bot]"), "bot"),
        (summary(author_email="49699333+dependabot[bot]@users.noreply.github.com"), "bot"),
        (summary("Bump numpy from 1.0 to 1.1"), "bot"),
        (summary('Revert "fix the parser"'), "revert"),
        (summary("fix it\n\n(cherry picked from commit 1234567890)"), "cherry-pick"),
        (summary(paths=("README.md",)), "no code"),
        (summary(paths=("vendor/a.py", "a_pb2.py", "yarn.lock")), "no code"),
        (summary(paths=("setup.py", "docs/conf.py", ".github/x.py")), "no code"),
        (summary(paths=tuple(f"{n}.py" for n in range(11))), "too many files"),
        (summary(paths=("a\ufffd.py",)), "unreadable path"),
        (summary(paths=("tests/test_a.py", "README.md")), "tests alone"),
        (summary(paths=("cmd/root_test.go", "pkg/testdata/a.go")), "tests alone"),
        (summary(paths=("source/a.spec.ts", "source/__tests__/b.ts", "test.js")), "tests alone"),
        (summary(paths=("src/main/CartTest.java", "spec/cart_spec.rb", "testing/benchmark.py")), "tests alone"),
    ],
)
def test_commits_go_on_sight_for_a_reason(commit: CommitSummary, reason: str) -> None:
    assert summary_reason(commit, CONFIG) == reason


@pytest.mark.parametrize("path", ["contest.go", "src/latest.rs", "attestation.py", "Contest.java", "src/testing/fakes.py", "inspect/a.rb"])
def test_a_name_that_sounds_like_a_test_is_none(path: str) -> None:
    assert summary_reason(summary(paths=(path,)), CONFIG) == ""


def test_docstrings_and_comments_alone_are_no_change_of_code() -> None:
    before = 'def a(x):\n    """Say it."""\n    # one\n    write(\n        """data"""\n    )\n    return x\n'
    told = before.replace('"""Say it."""', '"""Say all of\n\n    it.\n    """').replace("# one", "# another")
    added = before.replace('    """Say it."""\n', "")
    code, data = told.replace("return x", "return -x"), before.replace("data", "other")
    reasons = [content_reason(commit_of(file(before, after)), CONFIG.mechanical) for after in (told, added, code, data)]
    assert reasons == ["documentation only", "documentation only", "", ""]
    assert content_reason(commit_of(file(before, told)), CONFIG.mechanical.model_copy(update={"documentation": False})) == ""


def test_a_rust_file_that_changes_in_its_own_tests_alone_is_dropped() -> None:
    before = "fn a() -> u8 {\n    1\n}\n\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn one() {}\n}\n"
    tests, code = before.replace("fn one() {}", "fn one() { a(); }"), before.replace("    1\n", "    2\n")
    reasons = [content_reason(commit_of(file(before, after, "src/a.rs")), CONFIG.mechanical) for after in (tests, code)]
    assert reasons == ["tests alone", ""]
    off = CONFIG.mechanical.model_copy(update={"tests_alone": False})
    assert content_reason(commit_of(file(before, tests, "src/a.rs")), off) == ""


@pytest.mark.parametrize(
    ("text", "merely"),
    [
        ("update msrv to 1.60", True),
        ("flip to next dev patch release", True),
        ("run pre-commit (with pyupgrade) on all files", True),
        ("run cargo fix edition and edition-idioms", True),
        ("run hooks before the commit", False),
        ("set the minimum width of a column", False),
    ],
)
def test_what_only_a_tool_did_teaches_nobody(text: str, merely: bool) -> None:
    assert is_merely(text, CONFIG.mechanical.chores) is merely


def test_every_filter_on_sight_can_be_switched_off() -> None:
    off = MiningConfig.model_validate(
        {"mechanical": {"merges": False, "bots": False, "reverts": False, "cherry_picks": False, "generated": False}}
    )
    kept = [
        summary(parents=("b" * 40, "c" * 40)),
        summary(author_name="renovate"),
        summary('Revert "x y z"'),
        summary("x\n\n(cherry picked from commit 1234567890)"),
        summary(paths=("vendor/a.py",)),
    ]
    assert [summary_reason(commit, off) for commit in kept] == [""] * 5


def test_a_revert_takes_its_target_along() -> None:
    targets = reverted_by([f'Revert "x"\n\nThis reverts commit {"a" * 40}.', "nothing"])
    assert targets == ("a" * 40,)
    assert summary_reason(summary(), CONFIG, targets) == "reverted later"


def test_mass_renames_go() -> None:
    moved = tuple(
        PathChange(path=f"b/{n}.py", old_path=f"a/{n}.py", status="R", old_mode="100644", mode="100644", old_blob="1" * 40, blob="1" * 40)
        for n in range(6)
    )
    assert summary_reason(summary(changes=moved), CONFIG) == "mass rename"


def test_languages_can_be_chosen() -> None:
    assert is_kept("a.go", CONFIG)
    assert not is_kept("a.go", MiningConfig(languages=("python",)))


@pytest.mark.parametrize(
    "text", ["bump version to 1.2", "Bumping docs version", "prepare the release", "Version 2.0", "Update CHANGELOG for v3"]
)
def test_releases_teach_nothing(text: str) -> None:
    assert is_merely(text, CONFIG.mechanical.chores)


def test_fixing_a_version_check_is_no_release() -> None:
    assert not is_merely("fix the version check of the loader", CONFIG.mechanical.chores)


def file(before: str | None, after: str | None, path: str = "a.py") -> FileChange:
    return FileChange(path=path, before=before, after=after, diff=diff({path: before}, {path: after}))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (file("x = 'a'\n", 'x = "a"  # why\n'), True),
        (file("f(1,2)\n", "f(\n    1,\n    2,\n)\n"), True),
        (file('def f():\n    """One. """\n', 'def f():\n    """One."""\n'), True),
        (file("x = 1\n", "x = 2\n"), False),
        (file("x = ' '\n", "x = ''\n"), False),
        (file("if x:\n    a()\n    b()\n", "if x:\n    a()\nb()\n"), False),
        (file("bufr = 1\n", "bfur = 1\n"), False),
        (file("a();\n", "a( );  \n", "a.js"), True),
        (file("// one\na();\n", "// two\na();\n", "a.js"), True),
        (file("a();\n", "b();\n", "a.js"), False),
        (file(None, "x = 1\n"), False),
    ],
)
def test_what_means_the_same_is_known(change: FileChange, same: bool) -> None:
    assert means_the_same(change) is same


def commit_of(*files: FileChange) -> Commit:
    return Commit(repo="r", sha="a", parents=("b",), author_name="", author_email="", authored_at="", message="", files=files)


def test_contents_decide_what_paths_cannot() -> None:
    assert content_reason(commit_of(file("x = 1\n", "x = 1  # one\n")), CONFIG.mechanical) == "formatting only"
    assert content_reason(
        commit_of(file("# Generated by x. DO NOT EDIT\nx = 1\n", "# Generated by x. DO NOT EDIT\nx = 2\n")), CONFIG.mechanical
    ) == ("generated code alone")
    assert content_reason(commit_of(file("x = 1\n", "x = 2\n")), CONFIG.mechanical) == ""
    test = file("a = 1\n", "a = 2\n", "tests/test_a.py")
    assert content_reason(commit_of(file("x = 1\n", "x = 1  # one\n"), test), CONFIG.mechanical) == "formatting only"
    assert content_reason(commit_of(test), CONFIG.mechanical) == ""
    assert content_reason(commit_of(file("x = 1\n", "<<<<<<< mine\nx = 2\n")), CONFIG.mechanical) == "unfinished merge"


# Duplicates.

WORDS = [f"{first}{second}" for first in "abcdefghijklmnop" for second in ("lpha", "eta", "mma")]


def patch(words: list[str]) -> str:
    return "@@ -1 +1 @@\n" + "".join(f"+{word} = {word}_of(item)\n" for word in words)


def aged(id_: str, age: str, text: str, config: DuplicatesConfig) -> Aged:
    return Aged(id=id_, age=age, print=fingerprint_of(text, config))


def test_the_oldest_of_the_same_stays_whatever_the_order() -> None:
    config = DuplicatesConfig()
    rows = [
        aged("new", "2021", patch(WORDS), config),
        aged("old", "2019", patch(WORDS), config),
        aged("other", "2020", patch([word * 2 for word in WORDS]), config),
    ]
    for seed in range(6):
        random.Random(seed).shuffle(rows)
        assert duplicates(rows, config) == {"new": "exact duplicate"}


def test_places_and_spaces_make_no_difference_to_a_diff() -> None:
    config = DuplicatesConfig()
    one, two = patch(WORDS), patch(WORDS).replace("@@ -1 +1 @@", "@@ -90 +90 @@ def f():").replace(" = ", "=")
    assert fingerprint_of(one, config) == fingerprint_of(two, config)


def test_near_duplicates_are_found_and_different_diffs_are_not() -> None:
    config = DuplicatesConfig()
    chance = random.Random(0)
    near = [*WORDS]
    near[10] = "changed"
    rows = [aged("a", "1", patch(WORDS), config), aged("b", "2", patch(near), config)]
    rows += [aged(f"c{n}", "3", patch([f"w{chance.random()}" for _ in range(40)]), config) for n in range(50)]
    assert duplicates(rows, config) == {"b": "near duplicate"}
    assert duplicates(rows, config.model_copy(update={"near": False})) == {}


def test_short_diffs_have_no_near_duplicates() -> None:
    config = DuplicatesConfig()
    assert fingerprint_of("+x = 1\n", config).near == ""


# Outliers.


def test_the_longest_and_the_shortest_go_from_large_sets_alone() -> None:
    sizes = [Size(id=str(n), message=n, diff=1000 - n) for n in range(1000)]
    found = outliers(sizes, OutliersConfig(message_low=0.01, message_high=0.99, diff_high=1.0))
    assert found == {str(n): "message among the shortest" for n in range(10)} | {
        str(n): "message among the longest" for n in range(990, 1000)
    }
    assert outliers(sizes[:100], OutliersConfig(message_high=0.9)) == {}


# Benchmarks.

ITEM = "def has_close(numbers, threshold):\n    for idx, elem in enumerate(numbers):\n        for idx2, elem2 in enumerate(numbers):\n"


def test_a_row_that_repeats_a_benchmark_is_contaminated() -> None:
    known = Benchmarks({"humaneval": [ITEM]}, ContaminationConfig())
    assert known.of(ITEM.upper()) == "humaneval"
    assert known.of("\n".join(f"{word} = {word}_of(item)" for word in WORDS)) == ""
    assert Benchmarks({}, ContaminationConfig()).of(ITEM) == ""


def test_boilerplate_in_many_items_says_nothing() -> None:
    items = [ITEM + f"    return {word}_{n}\n" for n, word in enumerate(WORDS)]
    assert Benchmarks({"set": items}, ContaminationConfig()).of(ITEM) == ""


def test_texts_shorter_than_an_ngram_have_none() -> None:
    assert len(grams("one two three", 13)) == 0


def test_sets_come_from_local_files_and_what_is_no_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "bench.jsonl"
    path.write_text(json.dumps({"prompt": ITEM, "number": 1}) + "\n")
    assert load_sets([str(path)]) == {str(path): [ITEM, "1"]}
    (tmp_path / "bench.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"no \.jsonl"):
        load_sets([str(tmp_path / "bench.txt")])


# Secrets and personal data.

TOKEN = "ghp_" + "aB3" * 12
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA1234567890abcdef\nqwertyuiopasdfghjklzxcvbnm123456\n-----END RSA PRIVATE KEY-----"


def row(before: str, after: str, message: str = "fix it") -> Row:
    named = {"id": "r@1", "repo": "r", "commit": "1", "parent": "0", "authored_at": "", "licence": "MIT", "languages": ("python",)}
    return Row(**named, message=message, files=(file(before, after),))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f'token = "{TOKEN}"', True),
        ('AWS = "AKIAIOSFODNN7EXAMPLQ"', True),
        (f"KEY = '''{KEY}'''", True),
        ('api_key = "f3Kq9ZxL0pVb7TnY2mWc8RdA"', True),
        ('password = "correct_horse_battery"', False),
        ('sha = "da39a3ee5e6b4b0d3255bfef95601890afd80709"', False),
        ("token = next(tokens)", False),
    ],
)
def test_secrets_are_known_by_their_form(text: str, found: bool) -> None:
    assert bool(list(secrets_in(text))) is found


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("write to jane.roe@corp.io", ["mail"]),
        ("user@example.com, x@users.noreply.github.com, git@host.io:a/b", []),
        ("call +49 30 901820", ["telephone"]),
        ("host = '85.13.140.20'", ["address"]),
        ("127.0.0.1 192.168.0.1 10.0.0.1 1.2.3.4 999.1.1.1", []),
    ],
)
def test_personal_data_is_told_from_what_is_nobodys(text: str, kinds: list[str]) -> None:
    assert [found.kind for found in personal_in(text)] == kinds


def test_a_secret_drops_a_row_and_personal_data_is_taken_out_by_default() -> None:
    scanner = Scanner(PrivacyConfig())
    assert scanner.clean(row("x = 1\n", f"x = '{TOKEN}'\n"))[1] == "contains a secret"
    clean, reason = scanner.clean(row("x = 1\n", "x = 'jane.roe@corp.io'\n", "ask jane.roe@corp.io"))
    assert reason == "" and "jane" not in clean.model_dump_json() and STAND_INS["mail"] in clean.message


def test_what_was_clean_before_hides_nothing_new() -> None:
    scanner = Scanner(PrivacyConfig())
    assert scanner.clean(row("x = 1\n", "x = 2\n"))[1] == ""
    assert scanner.clean(row("x = 2\n", f"x = 2\ny = '{TOKEN}'\n"))[1] == "contains a secret"
    assert scanner.clean(row(f"x = 2\ny = '{TOKEN}'\n", "x = 2\n"))[1] == "contains a secret"


DIRTY = ["x = 1", f"t = '{TOKEN}'", "m = 'jane.roe@corp.io'", *f"k = '''{KEY}'''".split("\n"), "a = '85.13.140.20'"]


@given(st.lists(st.sampled_from(DIRTY), max_size=8))
def test_nothing_is_found_in_what_was_redacted_and_the_diff_still_fits(lines: list[str]) -> None:
    config = PrivacyConfig(secrets="redact", personal="redact")
    before, after = "x = 0\n", "\n".join(["x = 0", *lines]) + "\n"
    clean, reason = Scanner(config).clean(row(before, after))
    assert reason == ""
    assert Scanner(config).findings(clean) == []
    (kept,) = clean.files
    assert kept.diff.split("@@")[-1] == diff({"a.py": kept.before}, {"a.py": kept.after}).split("@@")[-1]


def test_kept_means_kept() -> None:
    dirty = row("x = 1\n", f"x = '{TOKEN}'\n")
    assert Scanner(PrivacyConfig(secrets="keep", personal="keep")).clean(dirty) == (dirty, "")


# Licences.


def test_licences_are_read_from_texts_metadata_and_files() -> None:
    assert repository_licence({"LICENSE": LICENSE.read_text()}) == "Apache-2.0"
    assert repository_licence({"pyproject.toml": '[project]\nlicense = "MIT"\n'}) == "MIT"
    assert repository_licence({"setup.py": "classifiers=['License :: OSI Approved :: MIT License']"}) == "MIT"
    assert repository_licence({"README.md": "hello", "src/LICENSE": "MIT"}) == UNKNOWN
    assert repository_licence({"LICENSE": "All rights reserved. Ask us."}) == UNKNOWN
    assert file_licence("# SPDX-License-Identifier: GPL-3.0-only\nx = 1\n") == "GPL-3.0-only"
    assert file_licence("x = 1\n") == file_licence(None) == ""


def test_a_files_own_licence_comes_first_and_all_hold() -> None:
    assert row_licence("MIT", {"a.py": "x = 1\n"}) == "MIT"
    assert row_licence("MIT OR Apache-2.0", {"a.py": "", "b.py": "# SPDX-License-Identifier: ISC\n"}) == "(MIT OR Apache-2.0) AND ISC"


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("MIT", ""),
        ("GPL-3.0-only", "licence not allowed: GPL-3.0-only"),
        ("MIT OR GPL-3.0-only", ""),
        ("MIT AND GPL-3.0-only", "licence not allowed: MIT AND GPL-3.0-only"),
        ("(MIT OR GPL-2.0-only) AND BSD-3-Clause", ""),
        (UNKNOWN, "licence unknown"),
    ],
)
def test_of_a_choice_one_allowed_licence_is_enough(expression: str, reason: str) -> None:
    assert refused(expression, LicencesConfig()) == reason


def test_any_licence_can_be_allowed() -> None:
    every = LicencesConfig(allow=("*",), unknown="keep")
    assert refused("GPL-3.0-only", every) == refused(UNKNOWN, every) == ""


# Sides.


@given(st.lists(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=3), min_size=1, max_size=20), st.floats(0.05, 0.95))
def test_no_file_is_on_both_sides(touched: list[list[str]], share: float) -> None:
    rows = [Placed(id=str(n), repo="r", authored_at="", paths=tuple(paths)) for n, paths in enumerate(touched)]
    found = sides(rows, SplitConfig(heldout=share))
    there = {path for row in rows for path in row.paths if row.id in found.heldout}
    here = {path for row in rows for path in row.paths if row.id not in found.heldout}
    assert not there & here
    assert there == set(found.paths.get("r", ()))


def test_repositories_and_times_can_be_held_out_instead() -> None:
    rows = [Placed(id=f"{repo}{n}", repo=f"repo-{repo}", authored_at=f"20{n:02}", paths=("a",)) for repo in range(30) for n in range(10)]
    by_repo = sides(rows, SplitConfig(by="repository", heldout=0.3)).heldout
    assert 0 < len(by_repo) < len(rows)
    assert all(len({row.id in by_repo for row in rows if row.repo == repo}) == 1 for repo in {row.repo for row in rows})
    newest = sides(rows, SplitConfig(by="time", heldout=0.2)).heldout
    assert newest == {row.id for row in rows if row.authored_at >= "2008"}
    assert sides(rows, SplitConfig()).heldout == frozenset()
