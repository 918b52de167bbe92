"""What a repository is, found out from metadata and the files at its top."""

from __future__ import annotations

from pathlib import Path

from forge.mining.history import GitHistory
from forge.mining.quality.licences import repository_licence
from forge.mining.quality.mechanical import reverted_by
from forge.mining.shard import Survey
from forge.store.atomic import write_bytes


def survey(repo: str, path: Path, folder: Path) -> Survey:
    """The survey of a repository at its head; its commits are listed in `folder`. Raises `HistoryError` when it cannot be read."""
    history = GitHistory(repo, path)
    try:
        shas = history.shas()
        listing = folder / f"{repo.replace('/', '--')}-{history.head[:12]}.shas"
        if not listing.exists():
            write_bytes(listing, shas)
        return Survey(
            repo=repo,
            path=str(path),
            head=history.head,
            commits=len(shas) // (len(history.head) + 1),
            listing=str(listing),
            reverted=reverted_by(history.messages("This reverts commit")),
            licence=repository_licence(_top(history)),
        )
    finally:
        history.close()


def _top(history: GitHistory) -> dict[str, str]:
    """The text files at the top of the head's tree."""
    found = {path: history.text(blob) for path, blob in history.top_entries(history.head).items()}
    return {path: text for path, text in found.items() if text is not None}
