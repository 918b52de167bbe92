"""Mining on Ray Data: repositories in, Parquet files of rows and of examples out, counts back.

Four steps: repositories are surveyed; their shards are read into rows; the whole set is compared with itself and with
benchmarks, from sketches alone; the rows that it keeps are finished. Each unit writes its own files and a done-marker, both
atomically: only counts travel through Ray, memory is bounded by a row group, a bad unit is data, and what an earlier run
finished with the same settings is not done again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import ray.data

from forge.config import MiningConfig
from forge.errors import HistoryError, TeacherRefusedError
from forge.mining.compare import compare
from forge.mining.counts import MiningCounts
from forge.mining.finishing import Verdict
from forge.mining.folder import MinedFolder
from forge.mining.shard import Shard, Survey
from forge.mining.units import Plan, finish_shard, read_shard, stale, survey_repository
from forge.records import Record
from forge.seams import Teacher
from forge.stages.stage import PromptStyle

Step = Literal["survey", "read", "compare", "finish"]
MakeTeacher = Callable[[], Teacher]

logger = logging.getLogger(__name__)


class MiningProgress(Record):
    """How far a step is, in its own units, and what is counted so far."""

    step: Step
    done: int
    total: int
    counts: MiningCounts


def mine(
    repos: Mapping[str, str],
    folder: MinedFolder,
    config: MiningConfig,
    *,
    make_teacher: MakeTeacher | None = None,
    teacher: str = "",
    heldout: Collection[tuple[str, str]] = (),
    style: PromptStyle = "full",
    progress: Callable[[MiningProgress], None] | None = None,
) -> MiningCounts:
    """Mine `repos` (name → folder or address) into `folder` and return the counts.

    No row comes from a commit that touches a `heldout` (repository, path), nor shows a symbol of one. `teacher` names who is
    behind `make_teacher`. A repository that cannot be read is counted in `failures`; only when none can be read does it raise
    `HistoryError`, and `TeacherRefusedError` when the teacher answers nothing. Needs a running Ray whose workers see `folder`.
    """
    _quiet()
    plan = Plan(
        root=str(folder.root), examples=str(folder.examples), config=config, heldout=tuple(sorted(heldout)), style=style, teacher=teacher
    )
    steps = _Steps(progress or (lambda _: None))
    surveys = steps.survey(repos, plan)
    shards = [shard for survey in surveys for shard in survey.shards(config.newest)]
    if not shards:
        raise HistoryError("; ".join(steps.counts.failures.values()) or "there is no repository to mine; name one")
    known = {survey.repo: survey for survey in surveys}
    lost = steps.carry_out("read", [(shard, known[shard.repo]) for shard in shards], partial(_read, plan=plan))
    whole = [shard for shard in shards if shard.key not in lost]
    if not whole:
        raise HistoryError(f"not one commit could be read: {next(iter(steps.counts.failures.values()))}")
    steps.report("compare", 0, 1)
    verdicts = compare(whole, plan)
    steps.report("compare", 1, 1)
    units = [(shard, verdicts[shard.key]) for shard in whole]
    steps.carry_out("finish", units, partial(_finish, plan=plan, make_teacher=make_teacher))
    # Only now: what an earlier run made is of use until there is something in its place.
    for path in stale(folder, (plan.finished_name(shard, verdicts[shard.key]) for shard in whole)):
        path.unlink(missing_ok=True)
    return steps.counts


class _Steps:
    """Carries the steps out one after another and adds up what they count."""

    def __init__(self, progress: Callable[[MiningProgress], None]) -> None:
        self._progress = progress
        self.counts = MiningCounts()

    def report(self, step: Step, done: int, total: int) -> None:
        self._progress(MiningProgress(step=step, done=done, total=total, counts=self.counts))

    def survey(self, repos: Mapping[str, str], plan: Plan) -> list[Survey]:
        """Every repository, in the order in which they were named."""
        self.counts = MiningCounts(repositories=len(repos))
        self.report("survey", 0, len(repos))
        found: dict[str, Survey] = {}
        for row in _rows([{"repo": repo, "address": address} for repo, address in repos.items()], partial(_survey, plan=plan)):
            survey = Survey.model_validate_json(row["survey"])
            found[survey.repo] = survey
            if survey.failure:
                self.counts += MiningCounts(failures={survey.repo: survey.failure})
            self.report("survey", len(found), len(repos))
        return [found[repo] for repo in repos]

    def carry_out(self, step: Step, units: Sequence[tuple[Shard, Record]], task: Callable[[dict[str, str]], dict[str, str]]) -> set[str]:
        """Keys of the shards that failed. Raises `TeacherRefusedError` with what a unit says of it."""
        self.report(step, 0, len(units))
        lost: set[str] = set()
        items = [{"shard": shard.model_dump_json(), "with": other.model_dump_json()} for shard, other in units]
        for done, row in enumerate(_rows(items, task), 1):
            if row["refused"]:
                raise TeacherRefusedError(row["refused"])
            counts = MiningCounts.model_validate_json(row["counts"])
            lost |= set(counts.failures)
            self.counts += counts
            self.report(step, done, len(units))
        return lost


def _rows(items: list[dict[str, str]], task: Callable[[dict[str, str]], dict[str, str]]) -> Any:
    """What `task` makes of each item, as they come. One block an item: that is the unit of work and of failure."""
    return ray.data.from_items(items, override_num_blocks=len(items)).map(task).iter_rows() if items else ()


def _survey(row: dict[str, str], plan: Plan) -> dict[str, str]:
    return {"survey": survey_repository(row["repo"], row["address"], plan).model_dump_json()}


def _read(row: dict[str, str], plan: Plan) -> dict[str, str]:
    return _tried(row, lambda shard: read_shard(shard, Survey.model_validate_json(row["with"]), plan))


def _finish(row: dict[str, str], plan: Plan, make_teacher: MakeTeacher | None) -> dict[str, str]:
    return _tried(row, lambda shard: finish_shard(shard, Verdict.model_validate_json(row["with"]), plan, make_teacher))


def _tried(row: dict[str, str], unit: Callable[[Shard], MiningCounts]) -> dict[str, str]:
    """The boundary where a bad unit becomes data: one bad row would end the whole of a Ray Data job (ray issue 59194)."""
    shard = Shard.model_validate_json(row["shard"])
    try:
        return {"counts": unit(shard).model_dump_json(), "refused": ""}
    except TeacherRefusedError as error:
        return {"counts": MiningCounts().model_dump_json(), "refused": str(error)}
    except Exception as error:  # noqa: BLE001
        logger.warning("mining %s failed: %s", shard.key, error)
        return {"counts": MiningCounts(failures={shard.key: f"{type(error).__name__}: {error}"}).model_dump_json(), "refused": ""}


def _quiet() -> None:
    """Ray Data's own bars and start-up lines off: progress is the caller's business."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # It warns that the bars are off.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
