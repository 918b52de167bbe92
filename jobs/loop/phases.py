"""The loop on Ray: history → tasks → mining → endpoint, then the rounds of `forge.rounds.machine`, whose hands this is.

Each phase is idempotent and marked in the ledger when it is over, so the same command goes on wherever the last one
ended. Everything heavy happens in Ray workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from forge.config import ForgeConfig
from forge.evals.stage_scores import Truth, truth_of
from forge.mining.counts import MiningCounts
from forge.observe.progress import Progress
from forge.records import STAGES, AdapterRef, Easier, Example, Preference, RoundPlan, RoundReport, Task, Trajectory
from forge.rollouts.rollout import Assignment
from forge.rollouts.tree import TaskTree
from forge.rounds.hands import Rows
from forge.rounds.lend import lent
from forge.rounds.machine import Rounds
from forge.seams import TrainJob
from forge.store.parquet import write_records
from forge.store.workspace import Workspace
from forge.tasks.on_ray import TaskSet
from forge.training.on_ray import TrainingService
from jobs.alignment.rows import aligned_in, trainable
from jobs.loop import prepare
from jobs.loop.context import RunContext
from jobs.loop.rollouts import RolloutSteps
from jobs.loop.serving import Serving
from jobs.training.trained import Shown, by_preferences, lack, refuse_leaks, store, with_average
from jobs.wiring import ProviderFactory, sweep, train_job
from sandboxes.grading import verdict_key


class Loop:
    """One run of the loop in one workspace."""

    taskset: TaskSet
    mining: MiningCounts
    rounds: Rounds
    _rollouts: RolloutSteps
    _truths: dict[str, Truth]

    def __init__(self, config: ForgeConfig, workspace: Workspace, progress: Progress) -> None:
        self.run = RunContext(config, workspace, progress)
        self._serving = Serving(self.run)
        self._training = TrainingService(config.training, storage=workspace.root / "ray-train", name=self.run.run_id)
        self._easier: tuple[Task, ...] = ()
        self._opened = ExitStack()
        self._opened.callback(self.run.close)
        self._opened.callback(self._training.close)

    def carry_out(self) -> list[RoundReport]:
        """The reports of all rounds; the workspace then holds everything that the report is made of."""
        run = self.run
        if run.config.rounds.aligned_share and len(run.ledger.rounds()) < 2:
            aligned_in(run.workspace.root)  # raises before anything is begun
        run.progress.say(f"  sandbox: {run.sandbox.name} ({run.sandbox.why})")
        if removed := asyncio.run(sweep(ProviderFactory(kind=run.sandbox.name))):
            run.progress.say(f"  {removed} leftovers of dead runs removed")
        if len(run.ledger.rounds()) <= run.config.rounds.limit + 1 and not (run.config.training.gpus or run.config.serve.gpus):
            # On a card training and serving take turns; on cores alone both come up while tasks are proven.
            self._training.warm_up()
            self._serving.start_ahead()
        self._repos, self._transfer = prepare.histories(run)
        self.taskset = prepare.tasks(run, self._repos, self._transfer, train=prepare.wanted(run.config, run.ledger.rounds()))
        sources = {name: path for name, path in self._repos.items() if name not in self._transfer}
        self.mining = prepare.mined(run, sources, self.taskset)
        self._truths = {task.id: truth_of(task, run.trees.files(task.tree)) for task in self.side("heldout")}
        self._rollouts = RolloutSteps(run, self.taskset, self._serving)
        self._opened.callback(self._rollouts.close)
        self.rounds = Rounds(run.config, run.ledger, run.adapters, run.tracker, self)
        self.rounds.carry_out()
        return run.ledger.rounds()

    def close(self) -> None:
        """End the workers; the endpoint stays up for whoever uses it."""
        self._opened.close()

    def results(self, name: str, side: str) -> list[Trajectory]:
        """An evaluation's trajectories on one side of the split."""
        ids = {task.id for task in self.side(side)}
        return [t for t in self.run.ledger.trajectories(f"evaluate-{name}") if t.task_id in ids]

    # `forge.rounds.hands.Hands`

    def side(self, side: str) -> list[Task]:
        return [task for task in (*self.taskset.tasks, *self._easier) if task.side == side]

    def prove(self, tasks: int) -> None:
        self.taskset = prepare.tasks(self.run, self._repos, self._transfer, train=tasks)

    def ease(self, batches: Sequence[Easier]) -> None:
        # What commits and injection gave at first is the same at every start, whatever was proven since.
        first = [task for task in self.taskset.tasks if task.side == "train"][: self.run.config.tasks.train]
        self._easier = prepare.easier(self.run, self._repos, self._transfer, batches, first)

    def truths(self) -> Mapping[str, Truth]:
        return self._truths

    def roll_out(self, step: str, number: int, assignments: Sequence[Assignment], what: str, candidates: Sequence[AdapterRef] = ()) -> None:
        self._rollouts.carry_out(step, number, assignments, what, candidates)

    def train(self, plan: RoundPlan, rows: Rows) -> list[AdapterRef]:
        refuse_leaks(rows, self.taskset.tasks)
        run, phase_name = self.run, f"train-{plan.name}"
        with run.phase(phase_name, f"{len(rows)} adapters from the frozen base") as phase:
            jobs = [self._job(plan, stage, rows[stage]) for stage in STAGES if stage in rows and self._teaches(stage, rows[stage])]
            phase.total(len(jobs), unit="adapters")
            self._serving.lend()
            results = self._training.train_all(jobs, Shown(jobs, phase, run.progress, run.tracker))
            refs = [
                store(run.adapters, run.config, plan.round, job, result, run.config.bases[run.config.stage(job.stage).base].model)
                for job, result in zip(jobs, results, strict=True)
            ]
            kind = "eval_loss" if all("eval_loss" in ref.metrics for ref in refs) else "train_loss"
            losses = ", ".join(f"{ref.stage} {ref.metrics[kind]:.3f}" for ref in refs)
            phase.result(f"{losses} ({'held-out' if kind == 'eval_loss' else 'training'} loss)")
        run.ledger.finish_phase(phase_name)
        return refs

    def mined(self, stage: str) -> list[Example]:
        return prepare.mined_rows(self.run, stage)

    def aligned(self) -> list[Example]:
        run = self.run
        rows, drops = trainable(
            aligned_in(run.workspace.root),
            self.taskset.tasks,
            heldout=self.taskset.heldout_files,
            transfer=self._transfer,
            config=run.config.mining.contamination,
            style=run.config.agent.prompt_style,
        )
        left_out = "".join(f", {number} left out: {reason}" for reason, number in drops.items())
        self.say(f"  {len(rows)} aligned rows may be trained on{left_out}")
        return rows

    def lent(self, trajectories: Sequence[Trajectory]) -> list[Example]:
        by_id = {task.id: task for task in (*self.taskset.tasks, *self._easier)}
        return lent(trajectories, by_id, verdict_key, lambda task: TaskTree(self.run.trees.folder(task.tree), task).files)

    def say(self, text: str) -> None:
        self.run.progress.say(text)

    # Training

    def _job(self, plan: RoundPlan, stage: str, rows: Sequence[Example] | Sequence[Preference]) -> TrainJob:
        run = self.run
        folder = run.workspace.round(plan.round)
        path = folder / "rows" / f"{stage}.parquet"
        write_records(path, rows)
        logs = run.workspace.root / "tensorboard" / plan.name / stage
        base = run.bases[run.config.stage(stage).base]
        job = train_job(run.config, stage, base, path, folder / "adapters" / stage, logs)
        promoted = run.adapters.promoted().get(stage)
        if plan.kind == "dpo":
            job = by_preferences(job, run.config, promoted)
        return with_average(job, run.config, promoted)

    def _teaches(self, stage: str, rows: Sequence[Example] | Sequence[Preference]) -> bool:
        if reason := lack(stage, rows):
            self.say(f"  {stage} keeps what it has: {reason}")
        return not reason
