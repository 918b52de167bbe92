"""A workspace as a run leaves it at some moment, without a run: what `forge status` is tried on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from forge.config import load
from forge.evals.steps import step_report
from forge.records import Decision, FileEdit, Outcome, RoundPlan, RoundReport, Task, Trajectory
from forge.store.ledger import Ledger
from forge.store.parquet import write_records
from forge.store.workspace import Workspace

HELDOUT, TRAIN = 20, 10
START = 1_000_000.0


class MadeRun:
    """Writes a ledger by its own clock, which stands still until `later`."""

    def __init__(self, root: Path, overrides: Sequence[str] = ()) -> None:
        self.root, self.time = root, START
        config = load([], ["seed=7", "rounds.limit=2", "rounds.samples=2", "rounds.probe=2", "rounds.bootstrap_solves=5", *overrides])
        with Workspace.open(root) as workspace:
            workspace.bind(config.model_dump(mode="json"))
        self.ledger = Ledger(root / "ledger.db", now=lambda: self.time)

    def later(self, seconds: float) -> None:
        self.time += seconds

    def before_the_rounds(self) -> None:
        """Repositories, tasks, mined rows, ten seconds each; the base alone solves one task."""
        for name in ("history", "tasks", "mining"):
            self.ledger.start_phase(name, {"what": f"making {name}", "sandbox": "bubblewrap"})
            self.later(10)
            self.ledger.finish_phase(name)
        write_records(self.root / "tasks" / "tasks.parquet", [_task(f"h{i}", "heldout") for i in range(HELDOUT)] + self.train())
        self.evaluated("baseline", 0, solved=1)

    def train(self) -> list[Task]:
        return [_task(f"t{i}", "train") for i in range(TRAIN)]

    def round(self, number: int, solved: int, *, why: str = "", promoted: bool = True, samples_solved: int = 10) -> None:
        """A whole round: its plan, its rollouts of training tasks, its evaluation and what was decided on it."""
        plan = self.planned(number)
        if number > 1:
            step = f"collect-{number - 1}"
            self.rolled_out(step, [f"t{i}" for i in range(TRAIN)], solved=samples_solved, total=TRAIN)
            self.ledger.finish_phase(step)
        self.ledger.start_phase(f"train-{plan.name}", {"what": "5 adapters"})
        self.later(60)
        self.ledger.finish_phase(f"train-{plan.name}")
        self.decided(number, "gate", "promote" if promoted else "keep", why)
        self.evaluated(plan.name, number, solved, promoted=promoted, why=why, plan=plan)

    def planned(self, number: int) -> RoundPlan:
        kind = "cold-start" if number == 1 else "rft"
        plan = RoundPlan.model_validate({"round": number, "kind": kind, "tasks": TRAIN, "probe": 2, "samples": 2})
        why = "the first adapters learn from mined commits" if number == 1 else "fewer than 2 rounds since the cold start"
        return self.ledger.decide(number, "plan", RoundPlan, lambda: (Decision(round=0, name="", choice=kind, why=why), plan))

    def decided(self, number: int, name: str, choice: str, why: str) -> None:
        made = Decision(round=0, name="", choice=choice, why=why)
        self.ledger.decide(number, name, Decision, lambda: (made, made))

    def rolled_out(self, step: str, tasks: Sequence[str], *, solved: int, total: int, every_s: float = 2.0) -> None:
        """A phase under way whose rollouts of these tasks are recorded, the first `solved` of them solved; `total` are wanted."""
        self.ledger.start_phase(step, {"what": "tasks, sampled", "sandbox": "bubblewrap", "rollouts": total})
        for index, task in enumerate(tasks):
            self.later(every_s)
            self.ledger.record_rollout(_trajectory(step, task, Outcome.SOLVED if index < solved else Outcome.FAILED))

    def evaluated(
        self, name: str, number: int, solved: int, *, promoted: bool = True, why: str = "", plan: RoundPlan | None = None
    ) -> None:
        step = f"evaluate-{name}"
        self.rolled_out(step, [f"h{i}" for i in range(HELDOUT)], solved=solved, total=HELDOUT)
        found = self.ledger.trajectories(step)
        self.ledger.compact(step, self.root / "rounds" / str(number) / "trajectories" / f"{step}.parquet")
        self.ledger.finish_phase(step, self.ledger.outcomes(step))
        report = step_report(name, number, found, promoted=promoted)
        self.ledger.record_round(
            RoundReport(round=number, name=name, examples={}, step=report, decision=why, adapters={}, plan=plan, seconds=100.0)
        )


def _task(name: str, side: str) -> Task:
    return Task.model_validate(
        {
            "id": name,
            "repo": "r",
            "base_commit": "c" * 40,
            "origin": "commit",
            "statement": "mend it",
            "tree": "h",
            "gold": (FileEdit(path="a.py", content=""),),
            "tests": (),
            "fail_to_pass": (),
            "pass_to_pass": (),
            "files": ("a.py",),
            "side": side,
        }
    )


def _trajectory(step: str, task: str, outcome: Outcome) -> Trajectory:
    return Trajectory(
        id=f"{step}-{task}",
        task_id=task,
        repo="r",
        round=0,
        step=step,
        sample=0,
        seed=0,
        temperature=0.0,
        turns=(),
        outcome=outcome,
        infra_retries=1 if task == "h0" else 0,
    )
