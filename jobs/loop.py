"""The loop: history → tasks → mining → endpoint → baseline → cold start → RFT rounds → report.

Each phase is idempotent and marked in the ledger when it is over, so the same command goes on wherever the last one
ended. The driver alone writes the ledger and the stores; everything heavy happens in Ray workers.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from forge.config import ForgeConfig
from forge.errors import EnvironmentLackError, ForgeError
from forge.evals.stage_scores import Truth, truth_of
from forge.evals.steps import solved_by_task, step_report
from forge.mining.history import open_history
from forge.mining.on_ray import MiningCounts, mine
from forge.observe.on_ray import RayTracker
from forge.observe.progress import PhaseProgress, Progress
from forge.records import STAGES, AdapterRef, Example, Outcome, RoundReport, StepReport, Task, Trajectory
from forge.rollouts.on_ray import RolloutPool
from forge.rollouts.rollout import Assignment
from forge.rounds.gate import decide
from forge.rounds.select import leaked, select, with_replay
from forge.seams import TrainJob, TrainResult
from forge.store.adapters import FolderAdapterStore, version_name
from forge.store.ledger import Ledger
from forge.store.parquet import read_examples, write_examples
from forge.store.trees import TreeStore
from forge.store.workspace import Workspace
from forge.tasks.on_ray import TaskCounts, TaskSet, build_tasks
from forge.training.on_ray import TrainingService
from forge.training.progress import TrainProgress
from jobs.canary import check_adapters
from jobs.wiring import ProviderFactory, RunnerFactory, base_folder, hidden_files, make_practice, sweep, train_job
from sandboxes.pick import pick
from serve import app as endpoint

log = logging.getLogger(__name__)

SICK_SHARE, SICK_MINIMUM = 0.25, 20
"""A step in which this share of at least so many rollouts ended as infrastructure errors is stopped, not averaged."""


class Loop:
    """One run of the loop in one workspace."""

    def __init__(self, config: ForgeConfig, workspace: Workspace, progress: Progress) -> None:
        self.config, self.workspace, self.progress = config, workspace, progress
        self.began = time.time()
        self.ledger = Ledger(workspace.ledger)
        self.adapters = FolderAdapterStore(workspace.adapters, self.ledger)
        self.trees = TreeStore(workspace.trees)
        self.tracker = RayTracker()
        self.sandbox = pick(config.sandbox.kind)
        self.bases = {name: base_folder(base) for name, base in config.bases.items()}
        self.run_id = f"{config.name}-{config.seed}"
        self.training = TrainingService(config.training, storage=workspace.root / "ray-train", name=self.run_id)
        self.mined: MiningCounts | None = None
        self._urls: dict[str, str] = {}
        self._pool: RolloutPool | None = None

    def run(self) -> list[RoundReport]:
        """The reports of all rounds; the workspace then holds everything that the report is made of."""
        self.progress.say(f"  sandbox: {self.sandbox.name} ({self.sandbox.why})")
        if removed := asyncio.run(sweep(ProviderFactory(kind=self.sandbox.name))):
            self.progress.say(f"  {removed} leftovers of dead runs removed")
        if len(self.ledger.rounds()) < self.config.rounds.rft + 2:
            self.training.warm_up()
        repos, transfer = self.history()
        self.taskset = self.tasks(repos, transfer)
        self.mine({name: path for name, path in repos.items() if name not in transfer})
        self.truths = self._truths()
        baseline = self.evaluate("baseline", 0, dict(self._base_models()))
        self._keep(0, baseline, {}, "the base alone, through the same agent", {})
        for number in range(1, self.config.rounds.rft + 2):
            if not self.round(number):
                break
        return self.ledger.rounds()

    def close(self) -> None:
        """End the workers; the endpoint stays up for whoever uses it."""
        if self._pool is not None:
            self._pool.close()
        self.training.close()
        self.ledger.close()

    # Phases before the rounds

    def history(self) -> tuple[dict[str, Path], tuple[str, ...]]:
        """Repositories by name, and the names of those that only measure transfer."""
        practice = self.config.history.practice
        names = [f"practice-{i + 1}" for i in range(practice.repositories)]
        transfer = tuple(f"transfer-{i + 1}" for i in range(practice.transfer_repositories if practice.repositories else 0))
        repos = {name: self.workspace.root / "repositories" / name for name in (*names, *transfer)}
        with self._phase("history", "practice repositories") as phase:
            phase.total(len(repos), unit="repositories")
            for name, folder in repos.items():
                if not (folder / ".git" / "forge-complete").exists():
                    make_practice(practice, self.config.seed, name, folder)
                phase.advance(now=name)
            phase.result(f"{len(repos)} practice repositories, {len(self.config.history.repos)} of yours")
        self.ledger.finish_phase("history")
        yours = {Path(path).expanduser().resolve().name: Path(path).expanduser().resolve() for path in self.config.history.repos}
        return {**repos, **yours}, transfer

    def tasks(self, repos: Mapping[str, Path], transfer: Sequence[str]) -> TaskSet:
        """Proven tasks on both sides of the split, and those of the transfer repositories."""
        usable = {name: path for name, path in repos.items() if not self.sandbox.trusted_only or self._is_practice(path)}
        wanted = self.config.tasks
        with self._phase("tasks", "tasks, each proven by gold and by doing nothing") as phase:
            phase.total(wanted.train + wanted.heldout + wanted.transfer, unit="tasks")

            def show(counts: TaskCounts) -> None:
                phase.at(sum(counts.found.values()), now=f"{counts.tried} tried")

            found = build_tasks(
                usable,
                self.workspace.tasks,
                self.workspace.trees,
                wanted,
                open_history=open_history,
                make_provider=ProviderFactory(kind=self.sandbox.name),
                run_id=self.run_id,
                transfer=transfer,
                limits=self.config.sandbox.limits,
                seed=self.config.seed,
                workers=self.config.sandbox.workers,
                progress=show,
            )
            sides = found.spread["side"]
            phase.result(", ".join(f"{sides.get(side, 0)} {side}" for side in ("train", "heldout", "transfer")))
        self.ledger.finish_phase("tasks", {"counts": found.counts.model_dump(mode="json"), "spread": found.spread})
        if not sides.get("train") or not sides.get("heldout"):
            raise ForgeError(f"tasks on both sides are needed, but {sides or 'none'} were proven; see the refusals: {found.counts.refused}")
        return found

    def mine(self, repos: Mapping[str, Path]) -> None:
        """Cold-start rows of every stage, from commits that touch no held-out file."""
        with self._phase("mining", "commits to training rows") as phase:

            def show(counts: MiningCounts) -> None:
                phase.now(f"{counts.commits} commits, {counts.survivors} teach")

            counts = mine(
                repos,
                self.workspace.root / "examples",
                self.config.mining,
                heldout=self.taskset.heldout_files,
                style=self.config.agent.prompt_style,
                progress=show,
            )
            phase.result(f"{counts.survivors} of {counts.commits} commits teach, {sum(counts.examples.values())} rows")
        self.ledger.finish_phase("mining", counts.model_dump(mode="json"))
        self.mined = counts

    # Rounds

    def round(self, number: int) -> bool:
        """Cold start (1) or a rejection-sampling round: rows, five adapters, held-out evaluation, promotion gate.

        False when no training task was solved: then there is nothing to learn from, and the promoted adapters stay.
        """
        name = "cold-start" if number == 1 else f"rft-{number - 1}"
        if any(report.round == number for report in self.ledger.rounds()):
            self.progress.skipped(name, "done by an earlier run")
            return True
        began = time.monotonic()
        self._log_round(number)
        dropped: dict[str, int] = {}
        collected: dict[str, int] = {}
        if number == 1:
            rows = {stage: self._mined_rows(stage) for stage in STAGES}
        else:
            self.collect(number)
            collected = self.ledger.outcomes(f"collect-{number - 1}")
            if not any(self.ledger.outcomes(f"collect-{n}").get(Outcome.SOLVED.value) for n in range(1, number)):
                self.progress.say(
                    f"  {name}: none of {sum(collected.values())} rollouts solved a training task, so there is nothing to learn from; "
                    "take a stronger base, easier tasks (history.practice.difficulty) or more commits"
                )
                return False
            rows, dropped = self._selected_rows(number)
        self._refuse_leaks(rows)
        refs = self.train(number, name, rows)
        models = {stage: ref.model_id for stage, ref in self.adapters.promoted().items()} | {ref.stage: ref.model_id for ref in refs}
        step = self.evaluate(name, number, models, refs)
        report = self._keep(number, step, {stage: len(found) for stage, found in rows.items()}, "", dropped, refs, collected, began)
        self.progress.say(f"  {name}: held-out pass@1 {report.step.pass_at_1:.1%}: {report.decision}")
        return True

    def collect(self, number: int) -> None:
        """Trajectories of the training tasks under the promoted adapters; what is solved every time is not sampled again."""
        step = f"collect-{number - 1}"
        promoted = {stage: ref.model_id for stage, ref in self.adapters.promoted().items()}
        models = dict(self._base_models()) | promoted
        retired = self._retired(number)
        assignments = [
            Assignment(
                task=task,
                step=step,
                round=number,
                sample=sample,
                seed=self.config.seed * 1000 + sample * 10,
                temperature=self.config.rounds.temperature,
                models=models,
            )
            for task in self._side("train")
            if task.id not in retired
            for sample in range(self.config.rounds.samples)
        ]
        self._roll_out(step, number, assignments, "training tasks, sampled")

    def train(self, number: int, name: str, rows: Mapping[str, Sequence[Example]]) -> list[AdapterRef]:
        """Stored adapters of the stages that have rows, each trained from its frozen base; the others keep theirs."""
        folder = self.workspace.round(number)
        phase_name = f"train-{name}"
        with self._phase(phase_name, f"{len(STAGES)} adapters from the frozen base") as phase:
            jobs = []
            for stage in (stage for stage in STAGES if rows[stage]):
                path = folder / "rows" / f"{stage}.parquet"
                write_examples(path, rows[stage])
                base = self.bases[self.config.stage(stage).base]
                jobs.append(train_job(self.config, stage, base, path, folder / "adapters" / stage))
            phase.total(len(jobs), unit="adapters")

            def show(news: TrainProgress) -> None:
                loss = f", loss {news.loss:.3f}" if news.loss is not None else ""
                done = [job.stage for job in jobs].index(news.stage) + news.step / max(1, news.steps)
                phase.at(done, now=f"{news.stage} {news.step}/{news.steps}{loss}")

            results = self.training.train_all(jobs, show)
            refs = [self._store(number, job, result) for job, result in zip(jobs, results, strict=True)]
            phase.result(", ".join(f"{ref.stage} {ref.metrics.get('eval_loss', 0.0):.3f}" for ref in refs) + " (held-out loss)")
        self.ledger.finish_phase(phase_name)
        return refs

    def evaluate(self, name: str, number: int, models: dict[str, str], refs: Sequence[AdapterRef] = ()) -> StepReport:
        """The greedy held-out step of these models, beside the transfer tasks."""
        assignments = [
            Assignment(task=task, step=f"evaluate-{name}", round=number, sample=0, seed=self.config.seed, temperature=0.0, models=models)
            for task in (*self._side("heldout"), *self._side("transfer"))
        ]
        self._roll_out(f"evaluate-{name}", number, assignments, "held-out and transfer tasks, greedy", refs)
        return step_report(name, number, self.results(name, "heldout"), promoted=False, truths=self.truths, before=self._promoted_results())

    def results(self, name: str, side: str) -> list[Trajectory]:
        """The evaluation's trajectories of one side of the split."""
        ids = {task.id for task in self._side(side)}
        return [t for t in self.ledger.trajectories(f"evaluate-{name}") if t.task_id in ids]

    # Parts of the above

    def _roll_out(
        self, step: str, number: int, assignments: Sequence[Assignment], what: str, candidates: Sequence[AdapterRef] = ()
    ) -> None:
        """Every assignment that has no result yet; each result is in the ledger as soon as it is there.

        The endpoint then serves the promoted adapters and `candidates`; with nothing to do it is not even started.
        """
        recorded = self.ledger.recorded(step, infra_errors=False)
        todo = [a for a in assignments if (step, a.task.id, a.sample) not in recorded]
        if not todo and self.ledger.is_done(step):
            self.progress.skipped(step, f"{len(recorded)} rollouts from an earlier run")
            return
        with self._phase(step, what) as phase:
            phase.now("the endpoint loads its adapters")
            self._deploy([*self.adapters.promoted().values(), *candidates])
            if candidates:
                phase.now("the canary compares the endpoint with what was trained")
                check_adapters(self.config, self._urls, candidates)
            phase.total(len(assignments), done=len(assignments) - len(todo), unit="rollouts")
            solved = 0
            for done, trajectory in enumerate(self._rollouts().collect(todo), 1):
                self.ledger.record_rollout(trajectory)
                solved += trajectory.outcome is Outcome.SOLVED
                self._log_rollout(trajectory, len(todo) - done)
                phase.advance(now=f"{solved} solved")
                self._stop_if_sick(step, done)
            outcomes = self.ledger.outcomes(step)
            phase.result(", ".join(f"{count} {name}" for name, count in outcomes.items() if count))
        self.ledger.compact(step, self.workspace.trajectories(number, step))
        self.ledger.finish_phase(step, outcomes)

    def _rollouts(self) -> RolloutPool:
        if self._pool is None:
            factory = RunnerFactory(
                config=self.config,
                provider=ProviderFactory(kind=self.sandbox.name),
                urls=self._urls,
                bases={name: str(folder) for name, folder in self.bases.items()},
                trees=str(self.workspace.trees),
                hidden=dict(hidden_files(self.taskset.heldout_files)),
                run_id=self.run_id,
            )
            box = self.config.sandbox
            self._pool = RolloutPool(factory, workers=box.workers, concurrency=box.concurrency)
        return self._pool

    def _deploy(self, refs: Collection[AdapterRef]) -> None:
        """The endpoint with exactly these adapters."""
        by_base: dict[str, dict[str, str]] = {name: {} for name in self.bases}
        for ref in refs:
            by_base[self.config.stage(ref.stage).base][ref.model_id] = ref.path
        deployed = endpoint.deploy(self.config, self.bases, by_base)
        self._urls = deployed.urls

    def _selected_rows(self, number: int) -> tuple[dict[str, list[Example]], dict[str, int]]:
        trajectories = [t for n in range(1, number) for t in self.ledger.trajectories(f"collect-{n}")]
        by_id = {task.id: task for task in self.taskset.tasks}
        chosen = select(trajectories, by_id, keep_per_task=self.config.rounds.keep_per_task)
        share, seed = self.config.rounds.replay, self.config.seed
        rows = {stage: with_replay(chosen.rows[stage], self._mined_rows(stage), share, seed) for stage in STAGES}
        return rows, chosen.dropped

    def _mined_rows(self, stage: str) -> list[Example]:
        files = sorted(self.workspace.examples(stage).glob("mined-*.parquet"))
        return [row for file in files for row in read_examples(file)]

    def _refuse_leaks(self, rows: Mapping[str, Sequence[Example]]) -> None:
        heldout = [*self._side("heldout"), *self._side("transfer")]
        found = leaked((row for stage in rows.values() for row in stage), heldout)
        if found:
            raise ForgeError(f"{len(found)} training rows show something of a held-out task, first {found[0]}; nothing was trained")

    def _store(self, number: int, job: TrainJob, result: TrainResult) -> AdapterRef:
        # The store moves what it takes in; what the trainer resumes from stays as it is.
        version = version_name(number, Path(result.output))
        staged = self.workspace.root / "staged" / f"{job.stage}@{version}"
        shutil.rmtree(staged, ignore_errors=True)
        shutil.copytree(result.output, staged)
        ref = AdapterRef(
            stage=job.stage,
            version=version,
            round=number,
            path=str(staged),
            base=self.config.bases[self.config.stage(job.stage).base].model,
            base_sha256=result.base_sha256,
            data_sha256=_file_hash(Path(job.rows)),
            rank=job.rank,
            examples=result.examples,
            metrics=result.metrics,
        )
        return self.adapters.add(staged, ref, config=self.config.model_dump(mode="json"))

    def _keep(
        self,
        number: int,
        step: StepReport,
        examples: dict[str, int],
        decision: str,
        dropped: dict[str, int],
        refs: Sequence[AdapterRef] = (),
        collected: dict[str, int] | None = None,
        began: float | None = None,
    ) -> RoundReport:
        """The gate's decision carried out and the round's report in the ledger."""
        promote = True
        if number > 1:
            gate = decide(self._promoted_results() or {}, solved_by_task(self.results(step.name, "heldout")), self.config.rounds.max_p)
            promote, decision = gate.promote, gate.reason
        elif number == 1:
            decision = "first adapters: promoted"
        if promote and refs:
            self.adapters.promote(refs)
        adapters = {stage: ref.model_id for stage, ref in self.adapters.promoted().items()}
        report = RoundReport(
            round=number,
            name=step.name,
            examples=examples,
            collected=collected or {},
            dropped=dropped,
            step=step.model_copy(update={"promoted": promote}),
            decision=decision,
            adapters=adapters,
            seconds=time.monotonic() - began if began else 0.0,
        )
        self.ledger.record_round(report)
        return report

    def _promoted_results(self) -> dict[str, bool] | None:
        """Held-out results of the step whose adapters are promoted, `None` before there is one."""
        steps = [report.step.name for report in self.ledger.rounds() if report.step.promoted and report.round >= 1]
        return solved_by_task(self.results(steps[-1], "heldout")) if steps else None

    def _retired(self, number: int) -> set[str]:
        """Tasks solved often enough in the last round's samples."""
        if number < 3:
            return set()
        by_task: dict[str, list[bool]] = {}
        for trajectory in self.ledger.trajectories(f"collect-{number - 2}"):
            by_task.setdefault(trajectory.task_id, []).append(trajectory.outcome is Outcome.SOLVED)
        return {task for task, solved in by_task.items() if sum(solved) >= self.config.rounds.retire * len(solved)}

    def _side(self, side: str) -> list[Task]:
        return [task for task in self.taskset.tasks if task.side == side]

    def _base_models(self) -> Mapping[str, str]:
        return {stage: self.config.stage(stage).base for stage in STAGES}

    def _truths(self) -> dict[str, Truth]:
        return {task.id: truth_of(task, self.trees.files(task.tree)) for task in self._side("heldout")}

    def _stop_if_sick(self, step: str, done: int) -> None:
        if done >= SICK_MINIMUM and done % SICK_MINIMUM == 0:
            outcomes = self.ledger.outcomes(step)
            sick = outcomes.get(Outcome.INFRA_ERROR.value, 0)
            if sick > SICK_SHARE * sum(outcomes.values()):
                reason = next(t.reason for t in self.ledger.trajectories(step) if t.outcome is Outcome.INFRA_ERROR)
                share = f"{sick} of {sum(outcomes.values())} rollouts"
                raise EnvironmentLackError(f"{share} failed for lack of infrastructure ({reason}); mend that and run again")

    def _log_rollout(self, trajectory: Trajectory, queued: int) -> None:
        self.tracker.log({"rollouts_total": 1.0}, tags={"outcome": trajectory.outcome.value})
        self.tracker.log({"tokens_total": float(trajectory.completion_tokens), "rollout_queue": float(queued)})

    def _log_round(self, number: int) -> None:
        self.tracker.log({"round": float(number)})

    def _is_practice(self, path: Path) -> bool:
        return path.is_relative_to(self.workspace.root / "repositories")

    @contextmanager
    def _phase(self, name: str, what: str) -> Iterator[PhaseProgress]:
        """A phase on the screen and, as running, in the ledger; whoever opens it marks it as finished."""
        self.ledger.start_phase(name)
        with self.progress.phase(name, what) as phase:
            yield phase
        self.ledger.touch_phase(name)


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
