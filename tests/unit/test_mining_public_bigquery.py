from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import sqlglot
from sqlglot import exp

from forge.errors import ConfigError
from forge.mining.public.bigquery import Wanted, commits_of, commits_sql, repositories_of, repositories_sql

ROWS = [
    {"repo_name": "mahmoud/boltons", "license": "bsd-3-clause", "stars": 6000, "commits": 1500},
    {"repo_name": "more-itertools/more-itertools", "license": "mit", "stars": 3500, "commits": 1700},
    {"repo_name": "not a name", "license": "mit", "stars": 1, "commits": 1},
]


def parsed(sql: str) -> exp.Expression:
    return sqlglot.parse_one(sql, read="bigquery")


def tables(sql: str) -> set[str]:
    ours = {cte.alias for cte in parsed(sql).find_all(exp.CTE)}
    return {".".join(part.name for part in table.parts) for table in parsed(sql).find_all(exp.Table) if table.name not in ours}


def test_the_query_reads_stars_from_the_archive_and_the_rest_from_the_public_data() -> None:
    base = "bigquery-public-data.github_repos."
    assert tables(repositories_sql(Wanted())) == {f"{base}languages", f"{base}licenses", f"{base}commits", "githubarchive.month.20*"}


def test_what_is_not_asked_for_is_not_read_and_not_billed() -> None:
    assert not any("githubarchive" in table for table in tables(repositories_sql(Wanted(least_stars=0))))
    assert not any(table.endswith("commits") for table in tables(repositories_sql(Wanted(least_commits=0))))
    assert {column.alias_or_name for column in parsed(repositories_sql(Wanted(least_stars=0, least_commits=0))).expressions} == {  # type: ignore[attr-defined]
        "repo_name",
        "license",
        "code_bytes",
        "share",
        "stars",
        "commits",
    }


def test_every_value_of_the_config_is_in_the_query() -> None:
    wanted = Wanted(
        languages=("Rust",), least_share=0.7, least_bytes=11, most_bytes=22, licences=("isc",), least_stars=33, least_commits=44, most=55
    )
    literals = {literal.this for literal in parsed(repositories_sql(wanted)).find_all(exp.Literal)}
    assert {"Rust", "0.7", "11", "22", "isc", "33", "44", "55", "201501", "202512", "WatchEvent"} <= literals


def test_a_value_cannot_break_out_of_its_literal() -> None:
    evil = 'x") OR TRUE -- \\'
    literals = {literal.this for literal in parsed(repositories_sql(Wanted(languages=(evil,)))).find_all(exp.Literal)}
    assert evil in literals


def test_commits_are_asked_for_by_names_of_repositories_alone() -> None:
    assert tables(commits_sql(["a/b", "c/d.e"])) == {"bigquery-public-data.github_repos.commits"}
    for odd in (["a/b'"], ["alone"], []):
        with pytest.raises(ConfigError, match="not the name of a repository"):
            commits_sql(odd)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_an_exported_answer_gives_repositories_to_mine(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"answer.{kind}"
    if kind == "jsonl":
        # BigQuery writes 64-bit numbers as text in JSON.
        lines = [json.dumps({key: str(value) for key, value in row.items()}) for row in (*ROWS, ROWS[0])]
        path.write_text("\n".join(lines) + "\n")
    elif kind == "csv":
        pyarrow.csv.write_csv(pa.Table.from_pylist([*ROWS, ROWS[0]]), path)
    else:
        pq.write_table(pa.Table.from_pylist([*ROWS, ROWS[0]]), path)
    found = repositories_of(path)
    assert [repository.name for repository in found] == ["mahmoud/boltons", "more-itertools/more-itertools"]
    assert (found[0].address, found[0].licence) == ("https://github.com/mahmoud/boltons.git", "BSD-3-Clause")
    assert (found[0].stars, found[0].commits) == (6000, 1500)


def test_rows_about_commits_give_their_repositories_and_their_commits(tmp_path: Path) -> None:
    rows = [
        {"repo_name": ["a/b", "fork/b"], "commit": "c1", "message": "fix it"},
        {"repo_name": ["a/b"], "commit": "c2", "message": "fix more\n\nmuch more"},
    ]
    (tmp_path / "commits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [repository.name for repository in repositories_of(tmp_path / "commits.jsonl")] == ["a/b", "fork/b"]
    assert commits_of(tmp_path / "commits.jsonl") == {"a/b": ("c1", "c2"), "fork/b": ("c1",)}
    pyarrow.csv.write_csv(pa.Table.from_pylist([{"repo_name": "a/b", "commit": "c2", "message": rows[1]["message"]}]), tmp_path / "c.csv")
    assert commits_of(tmp_path / "c.csv") == {"a/b": ("c2",)}


def test_an_answer_without_repositories_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n')
    (tmp_path / "b.jsonl").write_text("nonsense\n")
    for name, said in (("a.jsonl", "names no repository"), ("b.jsonl", "cannot read"), ("c.txt", "no export")):
        with pytest.raises(ConfigError, match=said):
            repositories_of(tmp_path / name)
