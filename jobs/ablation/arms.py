"""The arms of an ablation: trained from the same rows in the same batches, evaluated on the same tasks, recorded as they come.

Everything may be killed and started again: rollouts are in the ablation's ledger by key, adapters are stored under the hash of their
weights, a learning rate that was chosen stays chosen.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import forge
from forge.config import ForgeConfig
from forge.errors import ForgeError, TrainingError
from forge.evals import ablation
from forge.evals.ablation import BASE, MATCHED, NAMES, PER_STAGE, TUNED, Ablation, Arm, Run, Share, Side, Trained
from forge.evals.stage_scores import Truth, truth_of
from forge.evals.steps import outcomes, solved_by_task, step_report
from forge.export.tensors import Tensors
from forge.observe.progress import PhaseProgress, Progress
from forge.records import COMBINED, STAGES, AdapterRef, Decision, Record, RoundReport, Trajectory
from forge.rollouts.rollout import Assignment
from forge.seams import TrainJob
from forge.store.parquet import read_examples, write_records
from forge.store.workspace import Workspace
from forge.training.on_ray import TrainingService, losses_at
from forge.training.progress import TrainProgress
from forge.training.trial import best, beyond
from jobs.loop import prepare
from jobs.loop.context import RunContext
from jobs.loop.rollouts import RolloutSteps
from jobs.loop.serving import Serving
from jobs.loop.summary import hardware
from jobs.training.trained import Shown, lack, refuse_leaks, store
from jobs.wiring import ProviderFactory, sweep, train_job

FURTHER = 3
"""Learning rates tried beside the configured ones at most, one after another."""


class Rows(Record):
    """What is trained on: the files of a finished round by stage, or none for a cold start that is still to be mined."""

    name: str
    files: dict[str, str]
    rounds: tuple[RoundReport, ...]
    """Those of the run that the rows are from."""


class Rate(Record):
    """A learning rate that was chosen, and the losses that it was chosen by."""

    rate: float
    losses: dict[str, float]


class Arms:
    """All arms of one ablation."""

    def __init__(self, config: ForgeConfig, workspace: Workspace, results: Workspace, progress: Progress, rows: Rows) -> None:
        # Nothing is held back: adapters that stop at their best would have seen different rows.
        config = config.model_copy(update={"training": config.training.model_copy(update={"eval_fraction": 0.0})})
        self.run = RunContext(config, workspace, progress, results)
        self._rows = rows
        self._serving = Serving(self.run)
        self._training = TrainingService(config.training, storage=results.root / "ray-train", name=f"{self.run.run_id}-ablation")
        self._opened = ExitStack()
        self._opened.callback(self.run.close)
        self._opened.callback(self._training.close)
        self._truths: dict[str, Truth] = {}
        self._untaught: dict[str, str] = {}

    def carry_out(self) -> Ablation:
        """What the ablation found; the ledger and the adapters in its folder hold everything that it is made of."""
        run = self.run
        asyncio.run(sweep(ProviderFactory(kind=run.sandbox.name)))
        seeds = [run.config.seed + at for at in range(run.config.ablation.seeds)]
        left_out = {*([] if run.config.ablation.tune else [TUNED]), *([] if run.config.ablation.match == "parameters" else [MATCHED])}
        names = [name for name in ablation.ARMS if name not in {BASE, *left_out}]
        left = [name for name in names for seed in seeds if not run.ledger.is_done(_evaluation(name, seed))]
        if left and not (run.config.training.gpus or run.config.serve.gpus):
            # On a card training and serving take turns; on cores alone both come up while tasks are looked at.
            self._training.warm_up()
            self._serving.start_ahead()
        self._prepare()
        runs: dict[str, list[Run]] = {BASE: [self._evaluated(BASE, run.config.seed, (), None)], **{name: [] for name in names}}
        for seed in seeds:
            parts = self._stage_jobs(seed)
            found = {name: self._arm(name, seed, parts) for name in names}
            if told := ablation.unequal({name: one.trained for name, one in found.items() if one.trained is not None}):
                raise ForgeError(told)
            for name, one in found.items():
                runs[name].append(one)
        return self._summary(runs, seeds)

    def close(self) -> None:
        """End the workers; the endpoint stays up for whoever uses it."""
        self._opened.close()

    # What all arms share

    def _prepare(self) -> None:
        """Tasks, their truths, and the rows that each stage learns from."""
        run = self.run
        repos, transfer = prepare.histories(run)
        self._taskset = prepare.tasks(run, repos, transfer, train=prepare.wanted(run.config, self._rows.rounds))
        if self._rows.files:
            found = {stage: read_examples(Path(file)) for stage, file in self._rows.files.items()}
        else:
            prepare.mined(run, {name: path for name, path in repos.items() if name not in transfer}, self._taskset)
            found = {stage: prepare.mined_rows(run, stage) for stage in STAGES}
        refuse_leaks(found, self._taskset.tasks)
        self._untaught = {stage: reason for stage in STAGES if (reason := lack(stage, found.get(stage, [])))}
        taught = {stage: rows for stage, rows in found.items() if stage not in self._untaught}
        if not taught:
            raise ForgeError(f"the rows of {self._rows.name} teach no stage anything ({next(iter(self._untaught.values()))})")
        for stage, reason in self._untaught.items():
            run.progress.say(f"  {stage} is left to the base in every arm: {reason}")
        for stage, rows in taught.items():
            write_records(self._file(stage), rows)
        write_records(self._file(COMBINED), [row for stage in STAGES for row in taught.get(stage, [])])
        heldout = [task for task in self._taskset.tasks if task.side == "heldout"]
        self._truths = {task.id: truth_of(task, run.trees.files(task.tree)) for task in heldout}
        self._rollouts = RolloutSteps(run, self._taskset, self._serving)
        self._opened.callback(self._rollouts.close)

    def _file(self, stage: str) -> Path:
        return self.run.results.root / "rows" / f"{stage}.parquet"

    # Training

    def _stage_jobs(self, seed: int) -> list[TrainJob]:
        """An adapter for each stage, as the loop trains it."""
        run = self.run
        jobs = []
        for stage in STAGES:
            if stage not in self._untaught:
                base = run.bases[run.config.stage(stage).base]
                job = train_job(run.config, stage, base, self._file(stage), run.results.root / "train" / f"{PER_STAGE}-{seed}" / stage)
                jobs.append(job.model_copy(update={"seed": seed}))
        return jobs

    def _jobs(self, name: str, seed: int, parts: Sequence[TrainJob]) -> list[TrainJob]:
        """What an arm trains; `parts` are the stages' jobs as the loop has them."""
        if name == PER_STAGE:
            return list(parts)
        if name != TUNED:
            return [self._combined_job(name, seed, parts)]
        folder = self.run.results.root / "train" / f"{name}-{seed}"
        rates = [self._rate(part.stage, part.model_copy(update={"together": (part,)})).rate for part in parts]
        return [
            part.model_copy(update={"learning_rate": rate, "output": str(folder / part.stage)})
            for part, rate in zip(parts, rates, strict=True)
        ]

    def _combined_job(self, name: str, seed: int, parts: Sequence[TrainJob]) -> TrainJob:
        """One adapter on the batches of the stages' jobs."""
        ranks = [job.rank for job in parts]
        rank = sum(ranks) if name == MATCHED else max(ranks)
        job = parts[0].model_copy(
            update={
                "stage": COMBINED,
                "rows": str(self._file(COMBINED)),
                "output": str(self.run.results.root / "train" / f"{name}-{seed}"),
                "rank": rank,
                "alpha": 2 * rank,
                "batch_size": max(part.batch_size for part in parts),
                "max_tokens": max(part.max_tokens for part in parts),
                "together": tuple(parts),
            }
        )
        return job.model_copy(update={"learning_rate": self._rate(name, job).rate})

    def _rate(self, name: str, job: TrainJob) -> Rate:
        """The learning rate of a job: chosen once, by rows held back from those that teach, on the first seed."""

        def choose() -> tuple[Decision, Rate]:
            with self.run.phase(f"rate-{name}", f"learning rates for {NAMES.get(name, name)}") as phase:
                self._serving.lend()
                losses = self._losses(job, phase)
                rate = best(losses)
                if rate is None:
                    raise TrainingError(f"no learning rate that was tried for {name} came to a loss; lower ablation.rates")
                told = ", ".join(f"{tried:.2g}: {losses[tried]:.3f}" for tried in sorted(losses))
                phase.result(f"{rate:.2g} ({told})")
            self.run.ledger.finish_phase(f"rate-{name}")
            edge = "" if beyond(losses) is None else "; it is the outermost that was tried"
            why = f"learning rate {rate:.2g}, whose loss on a tenth of the commits and tasks, held back, is the least ({told}){edge}"
            figures = {f"{tried:.3g}": loss for tried, loss in losses.items()}
            return Decision(round=0, name="", choice=f"{rate:.2g}", why=why, figures=figures), Rate(rate=rate, losses=figures)

        return self.run.ledger.decide(0, f"rate-{name}", Rate, choose)

    def _losses(self, job: TrainJob, phase: PhaseProgress) -> dict[float, float]:
        """Losses on rows held back by learning rate: the configured ones, and further ones as long as the best is outermost."""
        middle = math.exp(sum(math.log(part.learning_rate) for part in job.together) / len(job.together))
        waiting = [factor * middle for factor in sorted(self.run.config.ablation.rates)]
        losses: dict[float, float] = {}

        def show(news: TrainProgress) -> None:
            phase.now(f"{', '.join(f'{rate:.2g}' for rate in waiting)}: step {news.step}, loss {news.loss:.3f} at best")

        for _ in range(1 + FURTHER):
            losses |= dict(zip(waiting, losses_at(job, waiting, self.run.config.training, show), strict=True))
            if (further := beyond(losses)) is None:
                break
            waiting = [further]
        return losses

    def _arm(self, name: str, seed: int, parts: Sequence[TrainJob]) -> Run:
        """One arm of one seed: trained, stored, evaluated."""
        jobs = self._jobs(name, seed, parts)
        refs = self._stored(name, seed) or self._train(name, seed, jobs)
        return self._evaluated(name, seed, refs, trained(jobs, refs))

    def _stored(self, name: str, seed: int) -> list[AdapterRef]:
        """The adapters of an arm that an earlier start trained; none when it did not come so far."""
        phase = self.run.ledger.phase(_training(name, seed))
        ids: Sequence[str] = phase.detail.get("adapters", ()) if phase is not None and phase.state == "done" else ()
        if ids:
            self.run.progress.skipped(_training(name, seed), f"{len(ids)} adapters from an earlier run")
        return [self.run.adapters.get(model_id) for model_id in ids]

    def _train(self, name: str, seed: int, jobs: Sequence[TrainJob]) -> list[AdapterRef]:
        run, step = self.run, _training(name, seed)
        with run.phase(step, f"{NAMES[name]}, from the frozen base, seed {seed}") as phase:
            phase.total(len(jobs), unit="adapters")
            self._serving.lend()
            results = self._training.train_all(jobs, Shown(jobs, phase, run.progress, run.tracker))
            models = [run.config.bases[run.config.base_of_adapters()[job.stage]].model for job in jobs]
            refs = [store(run.adapters, run.config, 0, job, found, model) for job, found, model in zip(jobs, results, models, strict=True)]
            phase.result(", ".join(f"{ref.stage} {ref.metrics['train_loss']:.3f}" for ref in refs) + " (training loss)")
        run.ledger.finish_phase(step, {"adapters": [ref.model_id for ref in refs]})
        return refs

    # Evaluation

    def _evaluated(self, name: str, seed: int, refs: Sequence[AdapterRef], made: Trained | None) -> Run:
        run, step = self.run, _evaluation(name, seed)
        models = run.config.base_of_stages() | self._models(refs)
        asked = [
            Assignment(task=task, step=step, round=0, sample=0, seed=run.config.seed, temperature=0.0, models=models)
            for side in ablation.SIDES
            for task in self._rollouts.side(side)
        ]
        self._rollouts.carry_out(step, 0, asked, f"held-out and transfer tasks, greedy, by {NAMES[name]}", refs)
        heldout, transfer = (self._found(step, side) for side in ablation.SIDES)
        return Run(
            seed=seed,
            heldout=step_report(name, 0, heldout, promoted=False, truths=self._truths),
            transfer=step_report(name, 0, transfer, promoted=False) if transfer else None,
            trained=made,
        )

    def _models(self, refs: Sequence[AdapterRef]) -> dict[str, str]:
        """The model id of each stage that is taught: its own adapter's, or that of the one that serves all."""
        ids = {ref.stage: ref.model_id for ref in refs}
        if COMBINED in ids:
            return {stage: ids[COMBINED] for stage in STAGES if stage not in self._untaught}
        return ids

    def _found(self, step: str, side: Side) -> list[Trajectory]:
        ids = {task.id for task in self._rollouts.side(side)}
        return [found for found in self.run.ledger.trajectories(step) if found.task_id in ids]

    # What it came to

    def _summary(self, runs: Mapping[str, Sequence[Run]], seeds: Sequence[int]) -> Ablation:
        run = self.run
        solved = {side: self._solved(runs, side) for side in ablation.SIDES}
        arms = [
            Arm(
                name=name,
                about=self._about(name, found),
                runs=tuple(found),
                heldout=ablation.share(solved["heldout"][name]),
                transfer=self._share(solved["transfer"][name]),
            )
            for name, found in runs.items()
        ]
        compared = [one for side in ablation.SIDES if any(map(any, solved[side].values())) for one in self._contrasts(solved[side], side)]
        phases = {phase.name: phase.seconds for phase in run.ledger.phases()}
        return Ablation(
            name=run.config.name,
            rows_of=self._rows.name,
            base=run.config.bases[run.config.base_of_stages()[STAGES[0]]].model,
            seeds=tuple(seeds),
            arms=tuple(arms),
            contrasts=tuple(compared),
            verdict=ablation.verdict(arms, compared),
            tuned={name: why for name, why in self._tuned().items() if name in runs or (TUNED in runs and name in STAGES)},
            untaught=tuple(self._untaught),
            outcomes={name: self._outcomes(name, found) for name, found in runs.items()},
            wall_s=sum(phases.values()),
            phase_s=phases,
            hardware=hardware(),
            sandbox=run.sandbox.name,
            forge=forge.__version__,
            finished=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        )

    def _tuned(self) -> dict[str, str]:
        return {found.name.removeprefix("rate-"): found.why for found in self.run.ledger.decisions(0)}

    def _contrasts(self, solved: Mapping[str, Sequence[Mapping[str, bool]]], side: Side) -> list[ablation.Contrast]:
        return ablation.contrasts(solved, side, seed=self.run.config.seed)

    def _solved(self, runs: Mapping[str, Sequence[Run]], side: Side) -> dict[str, list[dict[str, bool]]]:
        return {name: [solved_by_task(self._found(_evaluation(name, one.seed), side)) for one in found] for name, found in runs.items()}

    @staticmethod
    def _share(solved: Sequence[Mapping[str, bool]]) -> Share | None:
        return ablation.share(solved) if any(solved) else None

    def _outcomes(self, name: str, found: Sequence[Run]) -> dict[str, int]:
        return outcomes(t for one in found for t in self.run.ledger.trajectories(_evaluation(name, one.seed)))

    @staticmethod
    def _about(name: str, found: Sequence[Run]) -> str:
        made = found[0].trained
        if made is None:
            return "the frozen base answers for every stage, through the same agent"
        ranks = ", ".join(f"{stage} {rank}" for stage, rank in made.ranks.items())
        return f"{NAMES[name]}, from the frozen base (rank: {ranks}; {made.parameters:,} parameters)"


def _training(name: str, seed: int) -> str:
    """The phase in which an arm is trained."""
    return f"train-{name}-{seed}"


def _evaluation(name: str, seed: int) -> str:
    """The step of an arm's rollouts; the base has one for all seeds."""
    return f"evaluate-{name}" if name == BASE else f"evaluate-{name}-{seed}"


def trained(jobs: Sequence[TrainJob], refs: Sequence[AdapterRef]) -> Trained:
    """What these adapters were made of, added up."""

    def added(key: str) -> int:
        return round(sum(ref.metrics[key] for ref in refs))

    return Trained(
        rows=added("rows"),
        distinct_rows=added("distinct_rows"),
        tokens=added("tokens"),
        answer_tokens=added("answer_tokens"),
        steps=added("steps"),
        parameters=sum(parameters(Path(ref.path)) for ref in refs),
        ranks={ref.stage: ref.rank for ref in refs},
        learning_rates={job.stage: job.learning_rate for job in jobs},
        seconds=sum(ref.metrics["train_seconds"] for ref in refs),
    )


def parameters(adapter: Path) -> int:
    """Weights of an adapter."""
    tensors = Tensors([adapter / "adapter_model.safetensors"])
    return sum(math.prod(tensors.shape(name)) for name in tensors.names)
