"""What a repository is, found out from metadata alone."""

from __future__ import annotations

from pathlib import Path

from forge.mining.history import GitHistory
from forge.mining.shard import Survey


def survey(repo: str, path: Path) -> Survey:
    """The survey of a repository at its head. Raises `HistoryError` when it cannot be read."""
    history = GitHistory(repo, path)
    try:
        return Survey(repo=repo, path=str(path), head=history.head, commits=history.count())
    finally:
        history.close()
