from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from forge.config import ForgeConfig
from forge.mining.card import Tally, card_of, spread_of
from forge.mining.card_page import card_page
from jobs.cli import main
from jobs.data.diff import compare
from jobs.data.rows import rows_of, sampled
from jobs.data.stats import read_card, sparkline
from jobs.mine import write_card
from jobs.mining.repositories import repositories
from tests.mined import EVERY_LICENCE, Mined
from tests.small_repos import practice


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Mined:
    folder = tmp_path_factory.mktemp("mined")
    made = Mined(practice(folder / "repo").path, folder / "set")
    config = ForgeConfig.model_validate({"mining": EVERY_LICENCE.model_dump()})
    write_card(config, made.plan.folder, made.counts)
    return made


def test_the_card_counts_what_is_there(mined: Mined) -> None:
    card = read_card(mined.plan.folder.root)
    assert card.counts == mined.counts
    assert sum(card.repositories.values()) == card.counts.survivors == len(mined.rows)
    assert {shown.id for shown in card.shown} == {row.id for row in mined.rows}


def test_the_page_shows_every_reason_and_row_and_escapes_what_it_shows(mined: Mined) -> None:
    tally = Tally()
    tally.add([row.model_copy(update={"instruction": "<script>alert(1)</script>"}) for row in mined.rows])
    page = card_page(card_of(tally, mined.counts, name="<b>", made="2026-01-01T00:00:00", code_version="0", settings="a: 1"))
    assert all(reason in page for reason in (*mined.counts.drops, *mined.counts.silent))
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page and "<b>" not in page


def test_a_spread_against_numbers_worked_by_hand() -> None:
    spread = spread_of("x", [1, 2, 3, 4, 100])
    assert (spread.median, spread.low, spread.high) == (3, 1, 100)
    assert sum(spread.counts) == 5 and len(spread.edges) == len(spread.counts) + 1
    assert len(sparkline(spread)) == len(spread.counts)


def test_every_item_has_the_same_chance_to_be_sampled() -> None:
    hits = [0] * 10
    for seed in range(2000):
        for number in sampled(iter(range(10)), 3, seed):
            hits[number] += 1
    assert all(500 < hit < 700 for hit in hits)


def test_two_sets_are_compared_row_by_row(mined: Mined, tmp_path: Path) -> None:
    root = mined.plan.folder.root
    assert compare(root, root).same == len(mined.rows)
    repo = practice(tmp_path / "repo")
    good = (repo.path / "pkg/apple.py").read_text()
    repo.commit({"pkg/apple.py": good.replace("result = 0", "result = 1 - 1")}, "rewrite the start of total_apple")
    other = Mined(repo.path, tmp_path / "set")
    found = compare(root, other.plan.folder.root)
    assert (found.gone, len(found.new), found.changed) == ((), 1, ())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["data", "show", "/nowhere"], "holds no mined set"),
        (["data", "stats", "/nowhere"], "has no data card"),
        (["mine"], "no repository is given"),
        (["mine", "--list", "/nowhere"], "cannot read the list"),
        (["mine", "/nowhere"], "is no folder"),
        (["data", "mix", "/nowhere", "--to", "messages", "--out", "/nowhere"], "cannot read the recipe"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


def test_a_wrong_format_names_the_right_ones(mined: Mined, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "export", str(mined.plan.folder.root), "--to", "nope", "--out", "/nowhere"]) == 2
    assert "prompt-completion" in capsys.readouterr().err


def test_show_stats_and_export_print_and_write(mined: Mined, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(mined.plan.folder.root)
    assert main(["data", "show", root, "-n", "2"]) == main(["data", "stats", root]) == 0
    said = capsys.readouterr().out
    assert f"{mined.counts.survivors} rows of {mined.counts.commits} commits" in said and "diff --git" in said
    assert main(["data", "export", root, "--to", "messages", "--out", str(tmp_path / "out")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert rows and len(rows) + sum(manifest["dropped"].values()) == len(list(rows_of(mined.plan.folder.root)))


def test_a_recipe_mixes_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps({"seed": "x", "problem": f"Write f{n}.", "solution": f"def f{n}(): ...", "lang": "python"}) for n in range(20)]
    (tmp_path / "oss.jsonl").write_text("\n".join(lines))
    recipe = {"total": 5, "sources": {"magicoder-oss-instruct": {"path": "oss.jsonl"}}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    words = ["data", "mix", str(tmp_path / "recipe.yaml"), "--to", "alpaca", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert len((tmp_path / "out" / "train.jsonl").read_text().splitlines()) == 5
    assert "5 taken of 20 read" in capsys.readouterr().out


def test_a_list_names_repositories_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# mine\n/a/one\n\nhttps://example.org/x/two.git\n")
    base = {"history": {"practice": {"repositories": 0}, "listed": str(tmp_path / "list.txt")}, "tasks": {"transfer": 0}}
    assert repositories(ForgeConfig.model_validate(base)) == {"one": "/a/one", "x/two": "https://example.org/x/two.git"}
    (tmp_path / "list.txt").write_text("/a/one\n/b/one\n")
    with pytest.raises(Exception, match="both called one"):
        repositories(ForgeConfig.model_validate(base))


def test_what_is_printed_can_be_captured(mined: Mined) -> None:
    console = Console(record=True, width=100)
    from jobs.data.stats import stats

    stats(mined.plan.folder.root, console)
    assert "stage rows" in console.export_text()
