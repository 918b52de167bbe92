"""One shard of one history becomes rows: metadata decides first, contents are read only of what is left."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from forge.config import MiningConfig
from forge.mining.quality.contamination import Benchmarks, added_text
from forge.mining.quality.licences import refused, row_licence
from forge.mining.quality.mechanical import content_reason, is_generated, is_kept, is_merely, summary_reason
from forge.mining.quality.messages import cleaned, poor
from forge.mining.quality.privacy import Scanner
from forge.mining.quality.taggers import PartOfSpeech
from forge.mining.row import Row
from forge.mining.shard import Shard, Survey
from forge.records import Commit, CommitSummary, Drop, FileChange
from forge.seams import History
from forge.stages.source.languages import language_of
from forge.stages.source.symbols import is_test_path


class Reader:
    """Reads shards with one configuration."""

    def __init__(self, config: MiningConfig, benchmarks: Benchmarks, *, teacher: bool = False) -> None:
        """`teacher`: there is one, which may say what a commit is for whose message does not."""
        self._config = config
        self._benchmarks = benchmarks
        self._hopeful = teacher and config.enrich.instructions != "none"
        self._scanner = Scanner(config.privacy)
        self._tagger = PartOfSpeech(config.messages) if config.messages.verb_object else None

    def rows(self, history: History, survey: Survey, shard: Shard, heldout: Collection[str] = ()) -> Iterator[Row | Drop]:
        """Every commit of the shard, as a row or as a drop with the reason."""
        survivors: list[CommitSummary] = []
        for summary in history.listed(shard.shas()):
            reason = self._reason(summary, survey, heldout)
            if reason:
                yield Drop(sha=summary.sha, reason=reason)
            else:
                survivors.append(summary)
        wanted = lambda path: is_kept(path, self._config)  # noqa: E731
        for commit in history.contents(survivors, wanted=wanted, max_lines=self._config.max_changed_lines):
            yield commit if isinstance(commit, Drop) else self._row(commit, survey)

    def _reason(self, summary: CommitSummary, survey: Survey, heldout: Collection[str]) -> str:
        """Why a commit goes before anything of it is read."""
        if reason := summary_reason(summary, self._config, survey.reverted):
            return reason
        if any(path in heldout for change in summary.changes for path in (change.path, change.old_path)):
            return "held out"
        text = cleaned(summary.message).text
        if is_merely(text, self._config.mechanical.chores):
            return "release chore"
        if self._hopeful or any(is_test_path(change.path) for change in summary.changes):
            return ""
        lacks = poor(text, self._config, self._tagger)
        return f"nothing says what was asked: {lacks}" if lacks else ""

    def _contaminated(self, files: Sequence[FileChange]) -> str:
        found = self._benchmarks.of("\n".join(added_text(file.diff) for file in files))
        return f"contaminated: {found}" if found else ""

    def _row(self, commit: Commit, survey: Survey) -> Row | Drop:
        """The row of a commit that has been read."""
        reason = content_reason(commit, self._config.mechanical)
        files = tuple(file for file in commit.files if not (self._config.mechanical.generated and is_generated(file)))
        licence = row_licence(survey.licence, {file.path: file.after or file.before for file in files})
        reason = reason or refused(licence, self._config.licences) or self._contaminated(files)
        if reason:
            return Drop(sha=commit.sha, reason=reason)
        message = cleaned(commit.message)
        lacks = poor(message.text, self._config, self._tagger)
        row = Row(
            id=f"{commit.repo}@{commit.sha[:12]}",
            repo=commit.repo,
            commit=commit.sha,
            parent=commit.parents[0],
            authored_at=commit.authored_at,
            message=message.text,
            issues=message.issues,
            kind=message.kind,
            poor=lacks,
            instruction="" if lacks else message.text,
            instruction_by="" if lacks else "people",
            licence=licence,
            languages=tuple(sorted({language for file in files if (language := language_of(file.path))})),
            files=files,
        )
        row, reason = self._scanner.clean(row)
        return Drop(sha=commit.sha, reason=reason) if reason else row
