"""The ledger: what has happened in a run, in one SQLite file that only the driver writes.

Every method is one transaction in WAL mode, so after a kill at any moment each fact is there once or not at
all. (`synchronous=NORMAL`: a power cut, unlike a kill, may take back the last transactions, never tear one.)

A rollout is recorded together with its whole trajectory, compressed, in the row of its key
(step, task, sample). When a step is over `compact` moves the trajectories to Parquet and leaves the path.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, TypeVar

from forge.errors import StoreError
from forge.records import Decision, Outcome, Record, Result, RoundReport, Trajectory, Verdict
from forge.store import parquet

SCHEMA = 2
R = TypeVar("R", bound=Record)

TOKENS = "tokens INTEGER NOT NULL DEFAULT 0"
TABLES = f"""
CREATE TABLE IF NOT EXISTS phases (
    name TEXT PRIMARY KEY, state TEXT NOT NULL, started REAL NOT NULL, touched REAL NOT NULL,
    spent_s REAL NOT NULL DEFAULT 0, runs INTEGER NOT NULL DEFAULT 1, detail TEXT NOT NULL DEFAULT '{{}}');
CREATE TABLE IF NOT EXISTS rollouts (
    step TEXT NOT NULL, task_id TEXT NOT NULL, sample INTEGER NOT NULL, outcome TEXT NOT NULL, hash TEXT NOT NULL,
    payload BLOB, path TEXT, recorded REAL NOT NULL, {TOKENS}, PRIMARY KEY (step, task_id, sample));
CREATE INDEX IF NOT EXISTS rollouts_by_path ON rollouts (step) WHERE payload IS NOT NULL;
CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rounds (round INTEGER PRIMARY KEY, body TEXT NOT NULL, recorded REAL NOT NULL);
CREATE TABLE IF NOT EXISTS promotions (number INTEGER PRIMARY KEY AUTOINCREMENT, adapters TEXT NOT NULL, recorded REAL NOT NULL);
CREATE TABLE IF NOT EXISTS decisions (
    round INTEGER NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, content TEXT NOT NULL, recorded REAL NOT NULL,
    PRIMARY KEY (round, name));
"""
INDEX = "CREATE INDEX IF NOT EXISTS rollouts_told ON rollouts (step, recorded, outcome, tokens);"
"""What is counted while a step runs, apart from the trajectories, which lie between these columns in each row."""
OLDER = """
CREATE TEMP VIEW rollouts AS SELECT *, 0 AS tokens FROM main.rollouts;
CREATE TEMP TABLE decisions (round INTEGER, name TEXT, body TEXT, content TEXT, recorded REAL);
"""
"""What a ledger of schema 1 lacks, for one who only reads."""


class RolloutKey(NamedTuple):
    """What makes a rollout the same one after a restart."""

    step: str
    task_id: str
    sample: int


class Phase(Record):
    """One phase of the run. `seconds` adds up all its starts, up to the last sign of life of each."""

    name: str
    state: Literal["running", "done"]
    seconds: float
    runs: int
    touched: float = 0.0
    """The last sign of life, in seconds since the epoch."""
    detail: dict[str, Any] = {}


class Promotion(Record):
    """The model ids that were promoted from `recorded` (seconds since the epoch) on, by stage."""

    number: int
    recorded: float
    adapters: dict[str, str]


class Ledger:
    """The ledger at `path`; `now` is the clock, in seconds since the epoch.

    `read_only` is for whoever looks on while a run may be writing: what is read is one moment of it, nothing is changed, not even a
    ledger of an older schema, and nobody is kept waiting.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time, *, read_only: bool = False) -> None:
        self.path = path
        self._now = now
        self._guard = threading.RLock()
        try:
            version = self._look() if read_only else self._open()
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path} is no ledger of forge: {error}; choose another workspace") from error
        if version > SCHEMA:
            self._base.close()
            raise StoreError(f"{path} has ledger schema {version}, this forge writes {SCHEMA}; choose another workspace")

    def _open(self) -> int:
        """Open for reading and writing, made or brought to the present schema if need be; the schema that was found."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._base = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        self._base.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;")
        version = int(self._base.execute("PRAGMA user_version").fetchone()[0])
        if version == 1:  # had neither decisions nor tokens; everything else is as it was
            self._base.executescript(f"BEGIN IMMEDIATE; ALTER TABLE rollouts ADD COLUMN {TOKENS}; COMMIT;")
        if version < SCHEMA:
            self._base.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version={SCHEMA}; COMMIT;")
        if version <= SCHEMA:
            self._base.executescript(INDEX)
        return version

    def _look(self) -> int:
        """Open for reading alone and hold on to this moment; the schema that was found.

        SQLite keeps an index of the log beside the file even for a reader. Where the folder may not be written and there is no log
        with anything in it, no run can be writing either, and the file is read as it lies.
        """
        try:
            version = self._connect("mode=ro")
        except sqlite3.OperationalError as error:
            log = self.path.with_name(f"{self.path.name}-wal")
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) or _size(log):
                raise
            version = self._connect("mode=ro&immutable=1")
        if version == 0:
            raise sqlite3.DatabaseError("it holds nothing yet")
        if version == 1:
            self._base.executescript(OLDER)
        self._base.execute("BEGIN")
        return version

    def _connect(self, mode: str) -> int:
        name = f"{self.path.absolute().as_uri()}?{mode}"
        self._base = sqlite3.connect(name, uri=True, timeout=5, isolation_level=None, check_same_thread=False)
        return int(self._base.execute("PRAGMA user_version").fetchone()[0])

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._base.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # Phases

    def start_phase(self, name: str, detail: Mapping[str, Any] | None = None) -> None:
        """Mark a phase as running, with what is known of it so far (JSON). A phase that was running when the driver died keeps the time
        it had spent."""
        with self._write() as base:
            now = self._now()
            base.execute(
                "INSERT INTO phases (name, state, started, touched, detail) VALUES (?, 'running', ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET spent_s = spent_s + touched - started, state = 'running', "
                "started = excluded.started, touched = excluded.touched, detail = excluded.detail, runs = runs + 1",
                (name, now, now, json.dumps(dict(detail or {}))),
            )

    def touch_phase(self, name: str) -> None:
        """A sign of life: time up to now counts even if the driver is killed."""
        with self._write() as base:
            base.execute("UPDATE phases SET touched = ? WHERE name = ? AND state = 'running'", (self._now(), name))

    def finish_phase(self, name: str, detail: Mapping[str, Any] | None = None) -> None:
        """Mark a phase as done with what it produced (JSON); raises `StoreError` if it was not started."""
        with self._write() as base:
            done = base.execute(
                "UPDATE phases SET state = 'done', touched = ?, detail = ? WHERE name = ?",
                (self._now(), json.dumps(dict(detail or {})), name),
            )
            if done.rowcount != 1:
                raise StoreError(f"phase '{name}' was finished but never started")

    def phase(self, name: str) -> Phase | None:
        """One phase, `None` if it has never started."""
        return next((phase for phase in self.phases() if phase.name == name), None)

    def is_done(self, name: str) -> bool:
        """Whether a phase is over."""
        found = self.phase(name)
        return found is not None and found.state == "done"

    def phases(self) -> list[Phase]:
        """All phases in the order in which they first started."""
        rows = self._read("SELECT name, state, spent_s + touched - started, runs, touched, detail FROM phases ORDER BY rowid")
        return [Phase(name=row[0], state=row[1], seconds=row[2], runs=row[3], touched=row[4], detail=json.loads(row[5])) for row in rows]

    # Rollouts

    def record_rollout(self, trajectory: Trajectory) -> bool:
        """Keep a finished rollout with its trajectory; false (and nothing changes) when its key is recorded already.

        Only a recorded `infra_error` is replaced: it was no result.
        """
        body = trajectory.model_dump_json().encode()
        with self._write() as base:
            done = base.execute(
                "INSERT INTO rollouts (step, task_id, sample, outcome, hash, payload, recorded, tokens) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (step, task_id, sample) DO UPDATE SET outcome = excluded.outcome, hash = excluded.hash, "
                "payload = excluded.payload, path = NULL, recorded = excluded.recorded, tokens = rollouts.tokens + excluded.tokens "
                "WHERE rollouts.outcome = 'infra_error'",
                (
                    trajectory.step,
                    trajectory.task_id,
                    trajectory.sample,
                    trajectory.outcome.value,
                    trajectory.content_hash(),
                    zlib.compress(body, 3),
                    self._now(),
                    trajectory.tokens,
                ),
            )
        return done.rowcount == 1

    def recorded(self, step: str, *, infra_errors: bool = True) -> set[RolloutKey]:
        """Keys of a step that need no further run; without `infra_errors` masked ones are due again."""
        rows = self._read(
            "SELECT step, task_id, sample FROM rollouts WHERE step = ? AND (? OR outcome != 'infra_error')", (step, infra_errors)
        )
        return {RolloutKey(*row) for row in rows}

    def results(self, step: str) -> list[Result]:
        """How the rollouts of a step ended, by task and sample, without reading their trajectories."""
        rows = self._read("SELECT task_id, sample, outcome FROM rollouts WHERE step = ? ORDER BY task_id, sample", (step,))
        return [Result(task_id=row[0], sample=row[1], outcome=Outcome(row[2])) for row in rows]

    def outcomes(self, step: str | None = None) -> dict[str, int]:
        """Number of recorded rollouts by outcome, of one step or of all."""
        rows = self._read("SELECT outcome, COUNT(*) FROM rollouts WHERE ?1 IS NULL OR step = ?1 GROUP BY outcome ORDER BY outcome", (step,))
        return {Outcome(row[0]).value: row[1] for row in rows}

    def tokens(self) -> int:
        """Prompt and answer tokens of all recorded rollouts, those included that were masked and done again."""
        return int(self._read("SELECT COALESCE(SUM(tokens), 0) FROM rollouts")[0][0])

    def recorded_last(self, step: str, count: int) -> list[float]:
        """When the last `count` rollouts of a step were recorded, in seconds since the epoch, oldest first."""
        rows = self._read("SELECT recorded FROM rollouts WHERE step = ? ORDER BY recorded DESC LIMIT ?", (step, count))
        return [row[0] for row in reversed(rows)]

    def steps(self) -> list[str]:
        """Steps that have rollouts, in the order of their first one."""
        return [row[0] for row in self._read("SELECT step FROM rollouts GROUP BY step ORDER BY MIN(recorded), MIN(rowid)")]

    def trajectories(self, step: str) -> list[Trajectory]:
        """All trajectories of a step by task and sample, from the ledger and from Parquet."""
        rows = self._read("SELECT hash, payload, path FROM rollouts WHERE step = ?", (step,))
        found = [_unpack(payload) for _, payload, _ in rows if payload is not None]
        for path in sorted({row[2] for row in rows if row[2] is not None}):
            wanted = {row[0] for row in rows if row[2] == path}
            found += [item for item in parquet.read_trajectories(self.path.parent / path) if item.content_hash() in wanted]
        if len(found) != len(rows):
            raise StoreError(
                f"step '{step}' has {len(rows)} rollouts in {self.path} but {len(found)} trajectories; a Parquet file is missing"
            )
        return sorted(found, key=lambda item: (item.task_id, item.sample))

    def compact(self, step: str, path: Path) -> int:
        """Move a step's trajectories to the Parquet file `path` (inside the workspace); returns how many it holds."""
        everything = self.trajectories(step)
        parquet.write_trajectories(path, everything)
        with self._write() as base:
            base.execute(
                "UPDATE rollouts SET payload = NULL, path = ? WHERE step = ?", (path.relative_to(self.path.parent).as_posix(), step)
            )
        return len(everything)

    # Verdicts, rounds, promotions

    def verdict(self, key: str) -> Verdict | None:
        """The remembered grade of a patch; `key` is a hash over task and edits."""
        rows = self._read("SELECT body FROM verdicts WHERE key = ?", (key,))
        return Verdict.model_validate_json(rows[0][0]) if rows else None

    def verdicts(self) -> dict[str, Verdict]:
        """Every remembered grade by its key."""
        return {row[0]: Verdict.model_validate_json(row[1]) for row in self._read("SELECT key, body FROM verdicts")}

    def remember_verdicts(self, verdicts: Iterable[tuple[str, Verdict]]) -> None:
        """Remember grades; the first one of a key stays."""
        with self._write() as base:
            base.executemany("INSERT OR IGNORE INTO verdicts VALUES (?, ?)", [(key, grade.model_dump_json()) for key, grade in verdicts])

    def record_round(self, report: RoundReport) -> None:
        """Keep what a round did; recording a round again replaces it."""
        with self._write() as base:
            base.execute("INSERT OR REPLACE INTO rounds VALUES (?, ?, ?)", (report.round, report.model_dump_json(), self._now()))

    def rounds(self) -> list[RoundReport]:
        """The reports of all rounds, in order."""
        return [RoundReport.model_validate_json(row[0]) for row in self._read("SELECT body FROM rounds ORDER BY round")]

    def decide(self, number: int, name: str, kind: type[R], make: Callable[[], tuple[Decision, R]]) -> R:
        """What was decided under this name in this round; `make` is asked only when nothing was, and its answer recorded first."""
        found = self.decided(number, name, kind)
        if found is not None:
            return found
        decision, content = make()
        with self._write() as base:
            body = decision.model_copy(update={"round": number, "name": name}).model_dump_json()
            base.execute("INSERT INTO decisions VALUES (?, ?, ?, ?, ?)", (number, name, body, content.model_dump_json(), self._now()))
        return content

    def decided(self, number: int, name: str, kind: type[R]) -> R | None:
        """What was decided under this name in this round, `None` when nothing was."""
        rows = self._read("SELECT content FROM decisions WHERE round = ? AND name = ?", (number, name))
        return kind.model_validate_json(rows[0][0]) if rows else None

    def decisions(self, number: int | None = None) -> list[Decision]:
        """Every decision, or those of one round, in the order in which they were made."""
        rows = self._read("SELECT body FROM decisions WHERE ?1 IS NULL OR round = ?1 ORDER BY rowid", (number,))
        return [Decision.model_validate_json(row[0]) for row in rows]

    def promote(self, adapters: Mapping[str, str]) -> None:
        """Make these model ids the promoted ones of their stages, in one transaction; other stages keep theirs."""
        with self._write() as base:
            merged = self.promoted() | dict(adapters)
            base.execute("INSERT INTO promotions (adapters, recorded) VALUES (?, ?)", (json.dumps(merged, sort_keys=True), self._now()))

    def go_back_to(self, adapters: Mapping[str, str]) -> None:
        """Make exactly these the promoted model ids: a stage that is not named has none afterwards. The history grows."""
        with self._write() as base:
            base.execute(
                "INSERT INTO promotions (adapters, recorded) VALUES (?, ?)", (json.dumps(dict(adapters), sort_keys=True), self._now())
            )

    def promoted(self) -> dict[str, str]:
        """Promoted model id of each stage that has one."""
        history = self.promotions()
        return history[-1] if history else {}

    def promotions(self) -> list[dict[str, str]]:
        """Every set of promoted model ids there was, oldest first."""
        return [promotion.adapters for promotion in self.history()]

    def history(self) -> list[Promotion]:
        """Every change of what is promoted, oldest first."""
        rows = self._read("SELECT number, recorded, adapters FROM promotions ORDER BY number")
        return [Promotion(number=row[0], recorded=row[1], adapters=json.loads(row[2])) for row in rows]

    def _read(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._guard:
            return self._base.execute(query, values).fetchall()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """One transaction; rolled back if the body raises."""
        with self._guard:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")


def _unpack(payload: bytes) -> Trajectory:
    return Trajectory.model_validate_json(zlib.decompress(payload))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
