"""GitHub's public data on BigQuery: SQL that picks repositories and commits worth mining, and its answers read back.

`bigquery-public-data.github_repos` has languages, licences, and commits, of repositories with an open licence and of their
default branches alone; it has no stars. These are counted from GH Archive's `WatchEvent`s, one for each time that somebody
starred a repository: who took a star back is still counted, who starred before `stars_from` is not, and a repository that
was renamed is counted under each name apart. Queries are billed by the columns that they read: a year of GH Archive is
tens of gigabytes for the three columns taken here, all of `commits` is most of a terabyte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from pydantic import Field

from forge.errors import ConfigError
from forge.mining.public.columns import Columns, licence, number, text
from forge.records import Record

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+")
_ADDRESS = "https://github.com/{name}.git"
_NAME_COLUMNS = ("repo_name", "repository", "repo", "name")


class Wanted(Record):
    """Which repositories and commits are asked for."""

    languages: tuple[str, ...] = ("Python",)
    """GitHub's names of languages (Linguist's), at least one of which a repository has …"""
    least_share: float = Field(0.5, ge=0.0, le=1.0)
    """… as this share of its bytes of code."""
    least_bytes: int = Field(20_000, ge=0)
    """Bytes of code in these languages at least …"""
    most_bytes: int = Field(50_000_000, ge=0)
    """… and at most."""
    licences: tuple[str, ...] = ("mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "isc", "unlicense", "cc0-1.0", "mpl-2.0")
    """GitHub's keys of licences."""
    least_stars: int = Field(50, ge=0)
    """People who starred it in the months looked at; with 0 stars are not counted and GH Archive is not read."""
    stars_from: str = Field("201501", pattern=r"^\d{6}$")
    """First month (YYYYMM) of GH Archive that is read; before 2015 its events look different …"""
    stars_to: str = Field("202512", pattern=r"^\d{6}$")
    """… and the last one."""
    least_commits: int = Field(100, ge=0)
    """Commits of the default branch at least; with 0 they are not counted."""
    most: int = Field(1000, ge=1)
    """Repositories at most, those with the most stars first."""


class Found(Record):
    """A repository to mine, as the query's answer has it."""

    name: str
    """Owner and repository: `mahmoud/boltons`."""
    address: str
    licence: str = "NOASSERTION"
    """SPDX identifier."""
    stars: int | None = None
    commits: int | None = None


def repositories_sql(wanted: Wanted) -> str:
    """A query in GoogleSQL whose rows are `repo_name`, `license`, `code_bytes`, `share`, `stars`, `commits`, best known first."""
    parts = [_CODE.format(languages=_list(wanted.languages)), _LICENSED.format(licences=_list(wanted.licences))]
    joins, columns = "", ["0 AS stars", "0 AS commits"]
    if wanted.least_stars:
        parts.append(_STARRED.format(first=_quoted(wanted.stars_from), last=_quoted(wanted.stars_to), least=wanted.least_stars))
        joins, columns[0] = "\nJOIN starred USING (repo_name)", "starred.stars"
    if wanted.least_commits:
        parts.append(_COMMITTED.format(least=wanted.least_commits))
        joins, columns[1] = f"{joins}\nJOIN committed USING (repo_name)", "committed.commits"
    return _REPOSITORIES.format(
        parts=",\n".join(parts),
        columns=", ".join(columns),
        joins=joins,
        share=wanted.least_share,
        least=wanted.least_bytes,
        most=wanted.most_bytes,
        limit=wanted.most,
    )


def commits_sql(names: Sequence[str], *, most_files: int = 10) -> str:
    """A query for the commits of these repositories that metadata would keep: one parent, few files, a message.

    Rows are `repo_name`, `commit`, `parent`, `message`, and `paths`, one a line. The public data has blob ids and paths but no diffs:
    contents come from the repositories themselves. Raises `ConfigError` for what is no name of a repository.
    """
    odd = [name for name in names if not _NAME.fullmatch(name)]
    if odd or not names:
        raise ConfigError(f"not the name of a repository (owner/name): {', '.join(odd) or 'none given'}")
    return _COMMITS.format(names=_list(names), most=most_files)


def repositories_of(path: Path) -> list[Found]:
    """The repositories of an exported answer (.jsonl, .json by lines, .csv, .parquet), each once, in its order.

    Rows about commits give their repositories. Raises `ConfigError` when the file cannot be read or names none.
    """
    found: dict[str, Found] = {}
    for row in rows_of(path):
        for name in _names(row):
            found.setdefault(name.lower(), _found(name, row))
    if not found:
        raise ConfigError(f"{path} names no repository: none of the columns {', '.join(_NAME_COLUMNS)} holds owner/name")
    return list(found.values())


def commits_of(path: Path) -> dict[str, tuple[str, ...]]:
    """Ids of the commits of an exported answer by repository, in its order."""
    found: dict[str, dict[str, None]] = {}
    for row in rows_of(path):
        for name in _names(row):
            if sha := text(row, "commit"):
                found.setdefault(name, {})[sha] = None
    return {name: tuple(shas) for name, shas in found.items()}


def rows_of(path: Path) -> Iterator[Columns]:
    """Rows of an export; raises `ConfigError` when it cannot be read."""
    try:
        if path.suffix in (".jsonl", ".json", ".ndjson"):
            with path.open(encoding="utf-8") as lines:
                yield from (json.loads(line) for line in lines if line.strip())
        elif path.suffix == ".csv":
            several = pyarrow.csv.ParseOptions(newlines_in_values=True)
            yield from pyarrow.csv.read_csv(path, parse_options=several).to_pylist()
        elif path.suffix == ".parquet":
            for batch in pq.ParquetFile(path).iter_batches():
                yield from batch.to_pylist()
        else:
            raise ConfigError(f"{path} is no export that can be read; give .jsonl, .json, .csv or .parquet")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def _names(row: Columns) -> list[str]:
    """The repositories that a row names; `commits` of the public data names all that share the commit."""
    value = next((row[column] for column in _NAME_COLUMNS if row.get(column)), None)
    names = value if isinstance(value, list) else [value]
    return [name for name in names if isinstance(name, str) and _NAME.fullmatch(name)]


def _found(name: str, row: Columns) -> Found:
    stars, commits = number(row, "stars"), number(row, "commits")
    return Found(
        name=name,
        address=_ADDRESS.format(name=name),
        licence=licence(text(row, "license")),
        stars=None if stars is None else int(stars),
        commits=None if commits is None else int(commits),
    )


def _list(values: Sequence[str]) -> str:
    return ", ".join(map(_quoted, values))


def _quoted(value: str) -> str:
    """A string literal of GoogleSQL, whose escapes are those of JSON."""
    return json.dumps(value)


_CODE = """code AS (
  SELECT
    repo_name,
    SUM(IF(part.name IN ({languages}), part.bytes, 0)) AS code_bytes,
    SAFE_DIVIDE(SUM(IF(part.name IN ({languages}), part.bytes, 0)), SUM(part.bytes)) AS share
  FROM `bigquery-public-data.github_repos.languages`, UNNEST(language) AS part
  GROUP BY repo_name
)"""
_LICENSED = """licensed AS (
  SELECT repo_name, license
  FROM `bigquery-public-data.github_repos.licenses`
  WHERE license IN ({licences})
)"""
_STARRED = """starred AS (
  SELECT repo.name AS repo_name, COUNT(DISTINCT actor.id) AS stars
  FROM `githubarchive.month.20*`
  WHERE _TABLE_SUFFIX BETWEEN SUBSTR({first}, 3) AND SUBSTR({last}, 3) AND type = "WatchEvent"
  GROUP BY repo_name
  HAVING stars >= {least}
)"""
_COMMITTED = """committed AS (
  SELECT name AS repo_name, COUNT(DISTINCT commit) AS commits
  FROM `bigquery-public-data.github_repos.commits`, UNNEST(repo_name) AS name
  GROUP BY name
  HAVING commits >= {least}
)"""
_REPOSITORIES = """WITH {parts}
SELECT repo_name, licensed.license, code.code_bytes, code.share, {columns}
FROM code
JOIN licensed USING (repo_name){joins}
WHERE code.share >= {share} AND code.code_bytes BETWEEN {least} AND {most}
ORDER BY stars DESC, repo_name
LIMIT {limit}
"""
_COMMITS = """SELECT
  name AS repo_name,
  commit,
  parent[OFFSET(0)] AS parent,
  message,
  ARRAY_TO_STRING(ARRAY(SELECT IFNULL(new_path, old_path) FROM UNNEST(difference)), "\\n") AS paths
FROM `bigquery-public-data.github_repos.commits`, UNNEST(repo_name) AS name
WHERE name IN ({names})
  AND ARRAY_LENGTH(parent) = 1
  AND ARRAY_LENGTH(difference) BETWEEN 1 AND {most}
  AND NOT IFNULL(difference_truncated, FALSE)
  AND TRIM(message) != ""
ORDER BY repo_name, committer.date DESC, commit
"""
