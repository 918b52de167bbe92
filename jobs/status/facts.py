"""What a workspace says about its run at one moment, read beside a run that may be writing it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from forge import config as configuration
from forge.config import ForgeConfig
from forge.errors import ConfigError, StoreError, WorkspaceError
from forge.evals.paired import Paired
from forge.evals.report import read_summary
from forge.evals.summary import gain
from forge.records import Decision, RoundPlan, RoundReport
from forge.rounds.past import Past
from forge.store.holder import Holder, holder_of
from forge.store.ledger import Ledger, Phase
from forge.store.parquet import read_column
from forge.store.workspace import Workspace
from jobs.loop.outlook import outlook_of, past_so_far, tasks_of

RECENT = 24
"""Rollouts that the rate is taken over."""


@dataclass(frozen=True)
class Prospect:
    """What changes only when a round, a decision or a phase is over."""

    past: Past
    decision: Decision
    plan: RoundPlan
    """The round under way, if it was decided; else what comes next, `stop` when nothing does."""
    gain: Paired | None


@dataclass(frozen=True)
class Facts:
    """One moment of a run. Times are in seconds since the epoch."""

    root: Path
    now: float
    config: ForgeConfig
    sandbox: str
    """The kind of box that is in use, or as it was asked for where that is not known."""
    holder: Holder | None
    phases: tuple[Phase, ...]
    outcomes: dict[str, int]
    """Rollouts of all steps."""
    current: dict[str, int]
    """Rollouts of the step under way."""
    recent: tuple[float, ...]
    """When the last rollouts of the step under way were recorded."""
    counted: tuple[int, int] | None
    """Done and all of a phase under way that has no rollouts, where that can be seen."""
    tokens: int
    retries: int
    """Fresh starts after an infrastructure error, in the steps that are over."""
    rounds: tuple[RoundReport, ...]
    decisions: tuple[Decision, ...]
    prospect: Prospect
    report_at: float | None
    """When the report was written."""

    @property
    def running(self) -> Phase | None:
        """The phase under way, or that was when the run ended."""
        return next((phase for phase in reversed(self.phases) if phase.state == "running"), None)


class Lookout:
    """Looks at one workspace again and again; what cannot have changed is not read anew."""

    def __init__(self, root: Path) -> None:
        self._workspace = Workspace(root)
        self._prospect: tuple[object, Prospect] | None = None
        self._box = ""
        self._retries: dict[tuple[Path, int], int] = {}
        self._tried = _Lines(self._workspace.tasks / "journal.jsonl")

    def look(self, now: float) -> Facts:
        """The facts as of `now`. Raises `WorkspaceError` for a folder that holds no run that can be read."""
        workspace = self._workspace
        config = config_of(workspace)
        with _opened(workspace) as ledger:
            phases, rounds, decisions = ledger.phases(), ledger.rounds(), ledger.decisions()
            running = next((phase for phase in reversed(phases) if phase.state == "running"), None)
            rolling = running if running is not None and "rollouts" in running.detail else None
            return Facts(
                root=workspace.root,
                now=now,
                config=config,
                sandbox=self._sandbox(running) or config.sandbox.kind,
                holder=holder_of(workspace.root),
                phases=tuple(phases),
                outcomes=ledger.outcomes(),
                current=ledger.outcomes(rolling.name) if rolling else {},
                recent=tuple(ledger.recorded_last(rolling.name, RECENT)) if rolling else (),
                counted=self._counted(running, rounds) if running else None,
                tokens=ledger.tokens(),
                retries=self._retried(),
                rounds=tuple(rounds),
                decisions=tuple(decisions),
                prospect=self._prospects(config, ledger, phases, rounds, decisions),
                report_at=workspace.report_json.stat().st_mtime if workspace.report_json.exists() else None,
            )

    def _prospects(
        self, config: ForgeConfig, ledger: Ledger, phases: list[Phase], rounds: list[RoundReport], decisions: list[Decision]
    ) -> Prospect:
        done = sum(phase.state == "done" for phase in phases)
        file = self._workspace.tasks / "tasks.parquet"
        key = (config, len(rounds), len(decisions), done, file.stat().st_mtime_ns if file.exists() else 0)
        if self._prospect is None or self._prospect[0] != key:
            tasks = tasks_of(self._workspace)
            past = past_so_far(config, tasks, ledger)
            decision, plan = outlook_of(config, past, tasks, ledger)
            steps = [report.step for report in rounds if report.step is not None]
            self._prospect = key, Prospect(past, decision, plan, gain(past.heldout, steps, seed=config.seed))
        return self._prospect[1]

    def _sandbox(self, running: Phase | None) -> str:
        """As the phase under way names it, or the report."""
        if running is not None and "sandbox" in running.detail:
            self._box = str(running.detail["sandbox"])
        elif not self._box and self._workspace.report_json.exists():
            with suppress(StoreError):  # a report of another version says nothing here
                self._box = read_summary(self._workspace.report_json).sandbox
        return self._box

    def _counted(self, phase: Phase, rounds: list[RoundReport]) -> tuple[int, int] | None:
        if phase.name == "tasks":
            return self._tried.count(), 0
        if phase.name.startswith("train-"):
            folder = self._workspace.round(rounds[-1].round + 1 if rounds else 0)
            return len(list(folder.glob("adapters/*/result.json"))), len(list(folder.glob("rows/*.parquet")))
        return None

    def _retried(self) -> int:
        """Read from one column of each file of trajectories, once: they do not change."""
        for file in self._workspace.root.glob("rounds/*/trajectories/*.parquet"):
            key = (file, file.stat().st_mtime_ns)
            if key not in self._retries:
                self._retries[key] = sum(read_column(file, "infra_retries"))
        return sum(self._retries.values())


class _Lines:
    """The number of lines of a file that only grows; what was counted is not read again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = self._lines = 0

    def count(self) -> int:
        if not self._path.exists():
            return 0
        if self._path.stat().st_size < self._read:
            self._read = self._lines = 0
        with self._path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        self._read += len(new)
        self._lines += sum(len(line) > 1 for line in new.split(b"\n")[:-1])
        return max(0, self._lines - 1)  # the first one says what the file belongs to


def _opened(workspace: Workspace) -> Ledger:
    try:
        return Ledger(workspace.ledger, read_only=True)
    except StoreError as error:
        raise WorkspaceError(str(error)) from error


def config_of(workspace: Workspace) -> ForgeConfig:
    """The configuration that a run was started with last; raises `WorkspaceError` where there is no run."""
    root = workspace.root
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise WorkspaceError(f"{root} {what}; give the folder of a run, such as workspace/quickstart")
    if not workspace.ledger.is_file() or not workspace.config.is_file():
        raise WorkspaceError(f"{root} holds no run of forge improve; give the folder of one, such as workspace/quickstart")
    try:
        return configuration.load([workspace.config])
    except ConfigError as error:
        raise WorkspaceError(f"{workspace.config} is not a configuration of this version of forge: {error}") from error
