"""The loop: history → tasks → mining → endpoint → baseline → cold start → RFT rounds → report.

Each phase is idempotent and marked in the ledger when it is over, so the same command goes on wherever the last one
ended. Everything heavy happens in Ray workers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from forge.config import ForgeConfig
from forge.errors import ForgeError
from forge.evals.stage_scores import Truth, truth_of
from forge.evals.steps import solved_by_task, step_report
from forge.mining.counts import MiningCounts
from forge.observe.metrics import HELDOUT, ROUND
from forge.observe.progress import Progress
from forge.records import STAGES, AdapterRef, Example, Outcome, RoundReport, StepReport, Trajectory
from forge.rollouts.rollout import Assignment
from forge.rollouts.tree import TaskTree
from forge.rounds.gate import decide
from forge.rounds.lend import lent
from forge.rounds.select import leaked, retired, select, with_replay
from forge.store.parquet import read_examples, write_examples
from forge.store.workspace import Workspace
from forge.tasks.on_ray import TaskSet
from forge.training.on_ray import TrainingService
from jobs import prepare
from jobs.context import RunContext
from jobs.rollouts import RolloutSteps
from jobs.serving import Serving
from jobs.trained import Shown, lack, store, with_average
from jobs.wiring import ProviderFactory, sweep, train_job
from sandboxes.grading import verdict_key


class Loop:
    """One run of the loop in one workspace."""

    taskset: TaskSet
    mined: MiningCounts
    _rollouts: RolloutSteps
    _truths: dict[str, Truth]

    def __init__(self, config: ForgeConfig, workspace: Workspace, progress: Progress) -> None:
        self.run = RunContext(config, workspace, progress)
        self._serving = Serving(self.run)
        self._training = TrainingService(config.training, storage=workspace.root / "ray-train", name=self.run.run_id)
        self._opened = ExitStack()
        self._opened.callback(self.run.close)
        self._opened.callback(self._training.close)

    def carry_out(self) -> list[RoundReport]:
        """The reports of all rounds; the workspace then holds everything that the report is made of."""
        run, rounds = self.run, self.run.config.rounds.rft + 1
        run.progress.say(f"  sandbox: {run.sandbox.name} ({run.sandbox.why})")
        if removed := asyncio.run(sweep(ProviderFactory(kind=run.sandbox.name))):
            run.progress.say(f"  {removed} leftovers of dead runs removed")
        if len(run.ledger.rounds()) <= rounds and not (run.config.training.gpus or run.config.serve.gpus):
            # On a card training and serving take turns; on cores alone both come up while tasks are proven.
            self._training.warm_up()
            self._serving.start_ahead()
        repos, transfer = prepare.histories(run)
        self.taskset = prepare.tasks(run, repos, transfer)
        self.mined = prepare.mined(run, {name: path for name, path in repos.items() if name not in transfer}, self.taskset)
        self._truths = {task.id: truth_of(task, run.trees.files(task.tree)) for task in self.taskset.tasks if task.side == "heldout"}
        self._rollouts = RolloutSteps(run, self.taskset, self._serving)
        self._opened.callback(self._rollouts.close)
        baseline = self._evaluate("baseline", 0, run.config.base_of_stages())
        self._record(
            RoundReport(
                round=0,
                name="baseline",
                examples={},
                step=baseline.model_copy(update={"promoted": True}),
                decision="the base alone, through the same agent",
                adapters={},
            )
        )
        for number in range(1, rounds + 1):
            if not self._round(number):
                break
        return run.ledger.rounds()

    def close(self) -> None:
        """End the workers; the endpoint stays up for whoever uses it."""
        self._opened.close()

    def results(self, name: str, side: str) -> list[Trajectory]:
        """An evaluation's trajectories on one side of the split."""
        ids = {task.id for task in self.taskset.tasks if task.side == side}
        return [t for t in self.run.ledger.trajectories(f"evaluate-{name}") if t.task_id in ids]

    # Rounds

    def _round(self, number: int) -> bool:
        """Cold start (1) or a rejection-sampling round: rows, five adapters, held-out evaluation, promotion gate.

        False when no training task was solved: then there is nothing to learn from, and the promoted adapters stay.
        """
        run = self.run
        name = "cold-start" if number == 1 else f"rft-{number - 1}"
        if any(report.round == number for report in run.ledger.rounds()):
            run.progress.skipped(name, "done by an earlier run")
            return True
        began = time.monotonic()
        run.tracker.log({ROUND: float(number)})
        collected: dict[str, int] = {}
        dropped: dict[str, int] = {}
        if number == 1:
            rows = {stage: self._mined_rows(stage) for stage in STAGES}
        else:
            collected = self._collect(number)
            if not any(run.ledger.outcomes(f"collect-{n}").get(Outcome.SOLVED.value) for n in range(1, number)):
                run.progress.say(
                    f"  {name}: none of {sum(collected.values())} rollouts solved a training task, so there is nothing to learn from; "
                    "take a stronger base, easier tasks (history.practice.difficulty) or more commits"
                )
                return False
            rows, dropped = self._selected_rows(number)
        refs = self._train(number, name, rows)
        step = self._evaluate(name, number, run.promoted_models() | {ref.stage: ref.model_id for ref in refs}, refs)
        promote, decision = self._gate(number, step)
        if promote:
            run.adapters.promote(refs)
        self._record(
            RoundReport(
                round=number,
                name=name,
                examples={stage: len(found) for stage, found in rows.items()},
                collected=collected,
                dropped=dropped,
                step=step.model_copy(update={"promoted": promote}),
                decision=decision,
                adapters={},
                seconds=time.monotonic() - began,
            )
        )
        run.progress.say(f"  {name}: held-out pass@1 {step.pass_at_1:.1%}: {decision}")
        return True

    def _collect(self, number: int) -> dict[str, int]:
        """Outcomes of sampled rollouts of the training tasks taken on so far under the promoted adapters; retired ones are left out."""
        run, step = self.run, f"collect-{number - 1}"
        fresh = run.config.rounds.fresh_tasks
        done = retired((run.ledger.trajectories(f"collect-{n}") for n in range(1, number - 1)), run.config.rounds.retire)
        assignments = [
            Assignment(
                task=task,
                step=step,
                round=number,
                sample=sample,
                seed=run.config.seed * 1000 + number * 100 + sample * 10,
                temperature=run.config.rounds.temperature,
                models=run.promoted_models(),
            )
            for task in self._rollouts.side("train")[: fresh and fresh * (number - 1)]
            if task.id not in done
            for sample in range(run.config.rounds.samples)
        ]
        self._rollouts.carry_out(step, number, assignments, "training tasks, sampled")
        return run.ledger.outcomes(step)

    def _evaluate(self, name: str, number: int, models: dict[str, str], refs: Sequence[AdapterRef] = ()) -> StepReport:
        """The greedy held-out step of these models, beside the transfer tasks."""
        step, seed = f"evaluate-{name}", self.run.config.seed
        assignments = [
            Assignment(task=task, step=step, round=number, sample=0, seed=seed, temperature=0.0, models=models)
            for side in ("heldout", "transfer")
            for task in self._rollouts.side(side)
        ]
        self._rollouts.carry_out(step, number, assignments, "held-out and transfer tasks, greedy", refs)
        report = step_report(
            name, number, self.results(name, "heldout"), promoted=False, truths=self._truths, before=self._promoted_results()
        )
        self.run.tracker.log({HELDOUT: report.pass_at_1}, tags={"step": name})
        return report

    def _train(self, number: int, name: str, rows: Mapping[str, Sequence[Example]]) -> list[AdapterRef]:
        """Stored adapters of the stages that have rows, each trained from its frozen base; the others keep theirs."""
        self._refuse_leaks(rows)
        run, phase_name = self.run, f"train-{name}"
        folder = run.workspace.round(number)
        with run.phase(phase_name, f"{len(STAGES)} adapters from the frozen base") as phase:
            jobs, promoted = [], run.adapters.promoted()
            for stage in STAGES:
                if reason := lack(stage, rows[stage]):
                    run.progress.say(f"  {stage} keeps what it has: {reason}")
                    continue
                path = folder / "rows" / f"{stage}.parquet"
                write_examples(path, rows[stage])
                base = run.bases[run.config.stage(stage).base]
                logs = run.workspace.root / "tensorboard" / name / stage
                job = train_job(run.config, stage, base, path, folder / "adapters" / stage, logs)
                jobs.append(with_average(job, run.config, promoted.get(stage)))
            phase.total(len(jobs), unit="adapters")

            self._serving.lend()
            results = self._training.train_all(jobs, Shown(jobs, phase, run.progress, run.tracker))
            refs = [
                store(run.adapters, run.config, number, job, result, run.config.bases[run.config.stage(job.stage).base].model)
                for job, result in zip(jobs, results, strict=True)
            ]
            kind = "eval_loss" if all("eval_loss" in ref.metrics for ref in refs) else "train_loss"
            losses = ", ".join(f"{ref.stage} {ref.metrics[kind]:.3f}" for ref in refs)
            phase.result(f"{losses} ({'held-out' if kind == 'eval_loss' else 'training'} loss)")
        run.ledger.finish_phase(phase_name)
        return refs

    def _gate(self, number: int, step: StepReport) -> tuple[bool, str]:
        """Whether the step's adapters replace the promoted ones, and why in words."""
        if number == 1:
            return True, "first adapters: promoted"
        gate = decide(self._promoted_results() or {}, solved_by_task(self.results(step.name, "heldout")), self.run.config.rounds.max_p)
        return gate.promote, gate.reason

    def _record(self, report: RoundReport) -> None:
        """The report in the ledger, with the adapters that are promoted by now."""
        adapters = {stage: ref.model_id for stage, ref in self.run.adapters.promoted().items()}
        self.run.ledger.record_round(report.model_copy(update={"adapters": adapters}))

    # Rows

    def _selected_rows(self, number: int) -> tuple[dict[str, list[Example]], dict[str, int]]:
        trajectories = [t for n in range(1, number) for t in self.run.ledger.trajectories(f"collect-{n}")]
        by_id = {task.id: task for task in self.taskset.tasks}
        settings, seed = self.run.config.rounds, self.run.config.seed
        chosen = select(trajectories, by_id, keep_per_task=settings.keep_per_task)
        borrowed = lent(trajectories, by_id, verdict_key, lambda task: TaskTree(self.run.trees.folder(task.tree), task).files)
        chosen.rows["generation"] += borrowed
        self.run.progress.say(f"  {chosen.solved_tasks} tasks solved so far; their answers solve {len(borrowed)} others too")
        rows = {stage: with_replay(chosen.rows[stage], self._mined_rows(stage), settings.replay, seed) for stage in STAGES}
        return rows, chosen.dropped

    def _mined_rows(self, stage: str) -> list[Example]:
        files = sorted(self.run.workspace.examples(stage).glob("mined-*.parquet"))
        return [row for file in files for row in read_examples(file)]

    def _refuse_leaks(self, rows: Mapping[str, Sequence[Example]]) -> None:
        heldout = [task for task in self.taskset.tasks if task.side != "train"]
        found = leaked((row for stage in rows.values() for row in stage), heldout)
        if found:
            raise ForgeError(f"{len(found)} training rows show something of a held-out task, first {found[0]}; nothing was trained")

    # What earlier rounds left

    def _promoted_results(self) -> dict[str, bool] | None:
        """Held-out results of the step whose adapters are promoted, `None` before there is one."""
        steps = [report.step.name for report in self.run.ledger.rounds() if report.step.promoted and report.round >= 1]
        return solved_by_task(self.results(steps[-1], "heldout")) if steps else None
