"""`forge mine`: its options. What pulls in Ray is imported when the command is called, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Repos = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="REPO",
        help="Folders or addresses of git repositories; key=value sets any key of the configuration.",
        show_default=False,
    ),
]
ListFile = Annotated[
    Path | None,
    typer.Option("--list", help="File with a repository a line, or BigQuery's answer as .jsonl, .csv, .parquet.", show_default=False),
]
Out = Annotated[Path, typer.Option(help="Folder of the mined set.")]
Newest = Annotated[int | None, typer.Option(min=1, help="Newest commits of each repository, all when not given.", show_default=False)]
Own = Annotated[bool, typer.Option("--own", help="The code is yours: rows are kept whatever its licence says.")]
BigQuery = Annotated[bool, typer.Option("--bigquery", help="Print the SQL that picks repositories of GitHub's public data, and end.")]
Address = Annotated[str | None, typer.Option(help="Dashboard of a running Ray, such as http://127.0.0.1:8265.")]


def mine(
    repos: Repos = None,
    list_: ListFile = None,
    out: Out = Path("workspace/mined"),
    newest: Newest = None,
    own: Own = False,
    bigquery: BigQuery = False,
    address: Address = None,
) -> int:
    """Turn whole histories into clean training rows: commits that say what they do, and what each stage learns from them.

    The same command again goes on where the last one ended. Every commit is a row or is counted under the reason why it is none;
    data.html in the folder shows both, and rows to read. With teacher.model set, messages that say little are written anew.

    Examples:

        forge mine ../boltons ../toolz --out workspace/mined

        forge mine --list repositories.txt --newest 5000 mining.licences.unknown=keep

        forge mine ../mine --own teacher.model=gpt-5-mini mining.enrich.judge=true
    """
    from jobs.launching.launch import launch, resolved
    from jobs.mining.repositories import check_mining

    if bigquery:
        from forge.mining.public.bigquery import Wanted, repositories_sql

        print(repositories_sql(Wanted()))
        return 0
    options = {
        "mining.newest": newest,
        "history.listed": str(list_.absolute()) if list_ else None,
        "mining.licences.allow": ["*"] if own else None,
        "mining.licences.unknown": "keep" if own else None,
    }
    return launch("jobs.mine", resolved(repos or [], out, (), options), address, check_mining)
