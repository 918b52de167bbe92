"""One shard of one history becomes rows: metadata decides first, contents are read only of what is left."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from forge.config import MiningConfig
from forge.mining.filters import drop_reason
from forge.mining.languages import language_of
from forge.mining.row import Row
from forge.mining.shard import Shard, Survey
from forge.records import Commit, CommitSummary, Drop
from forge.seams import History
from forge.stages.statements import title_of


class Reader:
    """Reads shards with one configuration."""

    def __init__(self, config: MiningConfig) -> None:
        self._config = config

    def rows(self, history: History, survey: Survey, shard: Shard, heldout: Collection[str] = ()) -> Iterator[Row | Drop]:
        """Every commit of the shard, as a row or as a drop with the reason."""
        survivors: list[CommitSummary] = []
        for summary in history.summaries(shard.skip, shard.count):
            reason = drop_reason(summary, self._config, heldout)
            if reason:
                yield Drop(sha=summary.sha, reason=reason)
            else:
                survivors.append(summary)
        read = history.contents(survivors, wanted=lambda path: language_of(path) is not None, max_lines=self._config.max_changed_lines)
        for commit in read:
            yield commit if isinstance(commit, Drop) else self._row(commit, survey)

    def _row(self, commit: Commit, survey: Survey) -> Row:
        title = title_of(commit.message, self._config.min_message_words)
        return Row(
            id=f"{commit.repo}@{commit.sha[:12]}",
            repo=commit.repo,
            commit=commit.sha,
            parent=commit.parents[0],
            authored_at=commit.authored_at,
            message=commit.message,
            poor="" if title else "too few words",
            instruction=title or "",
            instruction_by="people" if title else "",
            licence=survey.licence or "NOASSERTION",
            languages=tuple(sorted({language for file in commit.files if (language := language_of(file.path))})),
            files=commit.files,
        )
