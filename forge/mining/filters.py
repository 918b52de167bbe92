"""Which commits survive on metadata alone: the cheap filters, each with the reason that is counted."""

from __future__ import annotations

import re
from collections.abc import Collection

from forge.config import MiningConfig
from forge.records import CommitSummary
from forge.stages.symbols import is_test_path

REGULAR_MODES = ("100644", "100755", "000000")
_REVERT = re.compile(r'^(?:Revert|Reapply) "|^This reverts commit [0-9a-f]{7,}', re.MULTILINE)


def drop_reason(summary: CommitSummary, config: MiningConfig, heldout: Collection[str] = ()) -> str | None:
    """Why this commit teaches nothing, `None` when it survives. `heldout` are paths that no training row may come from."""
    if len(summary.parents) > 1:
        return "merge"
    if not summary.parents:
        return "first commit"
    if is_bot(summary.author_name, config.bots):
        return "bot"
    if _REVERT.search(summary.message):
        return "revert"
    if not summary.changes:
        return "no files"
    if len(summary.changes) > config.max_files:
        return "too many files"
    if any(change.mode not in REGULAR_MODES or change.old_mode not in REGULAR_MODES for change in summary.changes):
        return "link or submodule"
    if not all(path.isprintable() and "\ufffd" not in path for change in summary.changes for path in (change.path, change.old_path or "")):
        return "unreadable path"
    if not modified_sources(summary):
        return "no existing source modified"
    if any(path in heldout for change in summary.changes for path in (change.path, change.old_path)):
        return "held out"
    return None


def is_bot(author: str, bots: Collection[str]) -> bool:
    """Whether the author's name contains one of these words as a word: `dependabot[bot]` does, `Abbott` does not."""
    return any(re.search(rf"(?<![a-z0-9]){re.escape(word.lower())}(?![a-z0-9])", author.lower()) for word in bots)


def modified_sources(summary: CommitSummary) -> list[str]:
    """Python files, not tests, that were there before and have other contents after."""
    return [
        change.path
        for change in summary.changes
        if change.status in "MR" and change.blob != change.old_blob and change.path.endswith(".py") and not is_test_path(change.path)
    ]
