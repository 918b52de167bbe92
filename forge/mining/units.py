"""The units of mining, each whole or not at all: survey a repository, read a shard, finish a shard. No Ray here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

from forge.config import MiningConfig
from forge.errors import HistoryError
from forge.mining.clones import folder_of
from forge.mining.counts import MiningCounts
from forge.mining.enrich.seed import Exercise
from forge.mining.finishing import Finished, Finisher, Verdict
from forge.mining.folder import MinedFolder
from forge.mining.history import GitHistory, open_history
from forge.mining.pydriller_history import PyDrillerHistory
from forge.mining.quality.benchmarks import load_sets
from forge.mining.quality.contamination import Benchmarks
from forge.mining.reading import Reader
from forge.mining.row import Row
from forge.mining.shard import Shard, Survey, fingerprint
from forge.mining.sketch import Sketch, Sketcher
from forge.mining.surveying import survey
from forge.mining.symbols import NearSymbols
from forge.records import STAGES, Drop, Example, Record
from forge.seams import History, Teacher
from forge.stages.stage import PromptStyle
from forge.store import atomic
from forge.store.parquet import RecordWriter, stream_records, writing


class Plan(Record):
    """What all units of one run share, and where each of them writes. Other settings give other file names."""

    root: str
    examples: str
    config: MiningConfig
    heldout: tuple[tuple[str, str], ...] = ()
    style: PromptStyle = "full"
    teacher: str = ""

    @property
    def folder(self) -> MinedFolder:
        return MinedFolder(Path(self.root), Path(self.examples))

    def hidden(self, repo: str) -> frozenset[str]:
        """Paths of a repository that no training row comes from or shows."""
        return frozenset(path for of, path in self.heldout if of == repo)

    def read_name(self, shard: Shard) -> str:
        """Name of what reading a shard writes."""
        later = {"enrich", "split", "outliers", "negatives", "offered", "wrong_attempts"}
        settings = self.config.model_dump(mode="json", exclude=later)
        return f"{shard.key}-{fingerprint(settings, sorted(self.hidden(shard.repo)), Row.schema_version)}"

    def finished_name(self, shard: Shard, verdict: Verdict) -> str:
        """Name of what finishing a shard writes."""
        return f"mined-{self.read_name(shard)}-{fingerprint(self.config, verdict, self.style, self.teacher)}"

    def rows(self, shard: Shard) -> Path:
        return self.folder.read / f"{self.read_name(shard)}.parquet"

    def sketches(self, shard: Shard) -> Path:
        return self.folder.read / f"{self.read_name(shard)}.sketch.parquet"

    def dropped(self, shard: Shard) -> Path:
        """The commits that reading dropped, each with its reason."""
        return self.folder.read / f"{self.read_name(shard)}.drops.parquet"


def survey_repository(repo: str, address: str, plan: Plan) -> Survey:
    """What a repository is; one that cannot be read is a survey with a failure."""
    try:
        return survey(repo, folder_of(address, plan.folder.clones), plan.folder.surveys)
    except HistoryError as error:
        return Survey(repo=repo, path=address, failure=str(error))


@lru_cache(maxsize=2)
def reader_of(config: MiningConfig, teacher: bool) -> Reader:
    """The reader of a configuration, made once a worker: its tagger and its benchmarks take seconds to load."""
    return Reader(config, Benchmarks(load_sets(config.contamination.sets), config.contamination), teacher=teacher)


def read_shard(shard: Shard, known: Survey, plan: Plan) -> MiningCounts:
    """Write the rows of a shard, their sketches and its drops, unless that is done. Raises `HistoryError`."""
    done = plan.rows(shard).with_suffix(".json")
    if done.exists():
        return MiningCounts.model_validate_json(done.read_text(encoding="utf-8"))
    drops: Counter[str] = Counter()
    sketcher = Sketcher(plan.config)
    opened = PyDrillerHistory if plan.config.reader == "pydriller" else GitHistory
    history: History = opened(shard.repo, Path(shard.path), shard.head)
    try:
        with (
            writing(plan.rows(shard), Row) as rows,
            writing(plan.sketches(shard), Sketch) as sketches,
            writing(plan.dropped(shard), Drop) as dropped,
        ):
            for end in reader_of(plan.config, bool(plan.teacher)).rows(history, known, shard, plan.hidden(shard.repo)):
                if isinstance(end, Drop):
                    drops[end.reason] += 1
                    dropped.add(end)
                else:
                    rows.add(end)
                    sketches.add(sketcher.of(end))
    finally:
        history.close()
    counts = MiningCounts(commits=rows.count + dropped.count, drops=dict(drops))
    atomic.write_text(done, counts.model_dump_json())
    return counts


def finish_shard(shard: Shard, verdict: Verdict, plan: Plan, make_teacher: Callable[[], Teacher] | None = None) -> MiningCounts:
    """Write the rows of a shard that are kept and what the stages learn from them, unless that is done.

    Raises `HistoryError`, and `TeacherRefusedError` when the teacher answers nothing at all.
    """
    name = plan.finished_name(shard, verdict)
    done = plan.folder.finished / f"{name}.json"
    if done.exists():
        return MiningCounts.model_validate_json(done.read_text(encoding="utf-8"))
    history = open_history(shard.repo, shard.path, shard.head)
    try:
        issues = Path(plan.config.enrich.issues) if plan.config.enrich.issues else None
        finisher = Finisher(plan.config, NearSymbols(history), style=plan.style, make_teacher=make_teacher, issues=issues)
        ends = finisher.finish(stream_records(plan.rows(shard), Row), verdict, plan.hidden(shard.repo))
        counts = _write(plan.folder, name, ends)
    finally:
        history.close()
    atomic.write_text(done, counts.model_dump_json())
    return counts


def _write(folder: MinedFolder, name: str, ends: Iterable[Finished]) -> MiningCounts:
    counts = MiningCounts()
    with ExitStack() as stack:
        rows = stack.enter_context(writing(folder.commits / f"{name}.parquet", Row))
        dropped = stack.enter_context(writing(folder.finished / f"{name}.drops.parquet", Drop))
        exercises: RecordWriter[Exercise] | None = None
        stages: dict[str, RecordWriter[Example]] = {}
        for finished in ends:
            counts += _count(finished)
            (dropped if isinstance(finished.end, Drop) else rows).add(finished.end)  # type: ignore[arg-type]
            if finished.exercise:
                exercises = exercises or stack.enter_context(writing(folder.exercises / f"{name}.parquet", Exercise))
                exercises.add(finished.exercise)
            for example in finished.examples:
                if example.stage not in stages:
                    stages[example.stage] = stack.enter_context(writing(folder.examples / example.stage / f"{name}.parquet", Example))
                stages[example.stage].add(example)
    return counts


def _count(finished: Finished) -> MiningCounts:
    end, spent = finished.end, finished.spent
    if isinstance(end, Drop):
        return MiningCounts(drops={end.reason: 1}, spent=spent)
    return MiningCounts(
        survivors=1,
        teaching=1 if end.change else 0,
        silent={} if end.change else {end.no_change: 1},
        heldout=int(end.heldout),
        examples=dict(Counter(example.stage for example in finished.examples)),
        exercises=int(finished.exercise is not None),
        spent=spent,
    )


def stale(folder: MinedFolder, names: Iterable[str]) -> Iterator[Path]:
    """Finished files of other settings, other heads or repositories that are no longer named."""
    kept = set(names)
    places = [folder.commits, folder.exercises, *(folder.examples / stage for stage in STAGES)]
    for path in (path for place in places for path in place.glob("mined-*.parquet")):
        if path.stem not in kept:
            yield path
