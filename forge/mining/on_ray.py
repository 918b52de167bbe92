"""Mining on Ray Data: repositories × commit ranges in, Parquet files of examples out, counts back.

Each range is one task that writes its own files and a done-marker, both atomically: only counts travel through
Ray, memory is bounded by a range, and what an earlier run finished with the same settings is not done again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import ray.data

from forge.config import MiningConfig
from forge.errors import HistoryError
from forge.mining.examples import Mined, mine_range
from forge.mining.history import open_history
from forge.records import STAGES, Example, Record
from forge.stages.stage import PromptStyle
from forge.store import atomic
from forge.store.parquet import write_records

RANGE = 1000
"""Commits in one task: seconds of work, some MiB of examples."""

logger = logging.getLogger(__name__)


class MiningCounts(Record):
    """What mining gave, and where every commit went: `commits` = `survivors` + all `drops`."""

    repositories: int = 0
    commits: int = 0
    survivors: int = 0
    drops: dict[str, int] = {}
    examples: dict[str, int] = {}
    """Rows by stage."""
    failures: dict[str, str] = {}
    """Ranges that could not be read, as `repo@skip`, with the reason; their commits are in no other count."""


def mine(
    repos: Mapping[str, Path],
    output: Path,
    config: MiningConfig,
    *,
    heldout: Collection[tuple[str, str]] = (),
    style: PromptStyle = "full",
    progress: Callable[[MiningCounts], None] | None = None,
) -> MiningCounts:
    """Write `output/<stage>/mined-*.parquet` from the histories of `repos` (name → folder) and return the counts.

    No row comes from a commit that touches a `heldout` (repository, path), nor shows a symbol of one. A repository
    that cannot be read is counted in `failures`; only when none can be read does it raise `HistoryError`.
    Needs a running Ray whose workers see `output` and the repositories.
    """
    total = MiningCounts(repositories=len(repos))
    ranges, unreadable = _ranges(repos)
    total = _add(total, MiningCounts(failures=unreadable))
    if not ranges:
        raise HistoryError("; ".join(unreadable.values()) or "there is no repository to mine; give history.repos")
    settings = _settings(config, heldout, style)
    for stale in _stale(output, ranges, settings):
        stale.unlink(missing_ok=True)
    _quiet()
    task = partial(_mine_row, output=str(output), config=config, heldout=sorted(heldout), style=style, settings=settings)
    # One block a range: a range is the unit of work, of failure and of resumption.
    dataset = ray.data.from_items(ranges, override_num_blocks=len(ranges)).map(task)
    for row in dataset.iter_rows():
        total = _add(total, MiningCounts.model_validate_json(row["counts"]))
        if progress:
            progress(total)
    return total


def _ranges(repos: Mapping[str, Path]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    ranges: list[dict[str, Any]] = []
    unreadable: dict[str, str] = {}
    for repo, path in repos.items():
        try:
            history = open_history(repo, str(path))
            try:
                skips = range(0, history.count(), RANGE)
            finally:
                history.close()
        except HistoryError as error:
            unreadable[repo] = str(error)
            continue
        ranges += [{"repo": repo, "path": str(path), "head": history.head, "skip": skip} for skip in skips]
    return ranges, unreadable


def _mine_row(
    row: dict[str, Any], output: str, config: MiningConfig, heldout: list[tuple[str, str]], style: PromptStyle, settings: str
) -> dict[str, str]:
    """Ray's unit of work: one range, finished before or now."""
    done = Path(output) / _marker(row, settings)
    if done.exists():
        return {"counts": done.read_text(encoding="utf-8")}
    paths = frozenset(path for repo, path in heldout if repo == row["repo"])
    try:
        history = open_history(row["repo"], row["path"], row["head"])
        try:
            mined = mine_range(history, config, skip=row["skip"], count=RANGE, heldout=paths, style=style)
        finally:
            history.close()
    except Exception as error:  # noqa: BLE001 - the boundary where a bad range becomes data
        logger.warning("mining %s@%s failed: %s", row["repo"], row["skip"], error)
        return {"counts": MiningCounts(failures={f"{row['repo']}@{row['skip']}": f"{type(error).__name__}: {error}"}).model_dump_json()}
    counts = _write(Path(output), row, settings, mined)
    atomic.write_text(done, counts.model_dump_json())
    return {"counts": counts.model_dump_json()}


def _write(output: Path, row: Mapping[str, Any], settings: str, mined: Mined) -> MiningCounts:
    written = {}
    for stage in STAGES:
        rows = [example for example in mined.examples if example.stage == stage]
        if rows:
            written[stage] = write_records(output / stage / f"mined-{_name(row, settings)}.parquet", rows, Example)
    return MiningCounts(commits=mined.commits, survivors=mined.survivors, drops=mined.drops, examples=written)


def _stale(output: Path, ranges: list[dict[str, Any]], settings: str) -> Iterator[Path]:
    """Mined files that other settings or another head wrote, and markers of theirs."""
    names = {f"mined-{_name(row, settings)}" for row in ranges}
    for path in (*output.glob("*/mined-*.parquet"), *output.glob(".done/mined-*.json")):
        if path.stem not in names:
            yield path


def _marker(row: Mapping[str, Any], settings: str) -> str:
    return f".done/mined-{_name(row, settings)}.json"


def _name(row: Mapping[str, Any], settings: str) -> str:
    return f"{row['repo'].replace('/', '--')}-{row['head'][:12]}-{row['skip']:07d}-{settings}"


def _settings(config: MiningConfig, heldout: Collection[tuple[str, str]], style: PromptStyle) -> str:
    """Short hash of everything but the history that decides the rows."""
    body = json.dumps([config.model_dump(mode="json"), sorted(heldout), style, MiningCounts.schema_version])
    return hashlib.sha256(body.encode()).hexdigest()[:8]


def _add(left: MiningCounts, right: MiningCounts) -> MiningCounts:
    return MiningCounts(
        repositories=left.repositories + right.repositories,
        commits=left.commits + right.commits,
        survivors=left.survivors + right.survivors,
        drops=dict(Counter(left.drops) + Counter(right.drops)),
        examples=dict(Counter(left.examples) + Counter(right.examples)),
        failures={**left.failures, **right.failures},
    )


def _quiet() -> None:
    """Ray Data's own bars and start-up lines off: progress is the caller's business."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # It warns that the bars are off.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
