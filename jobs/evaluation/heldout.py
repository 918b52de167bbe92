"""The staged agent on a workspace's held-out tasks, and on those of repositories that nothing was trained on."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from forge.errors import ConfigError, EnvironmentLackError
from forge.evals.suites.problem import Sample, Score
from forge.evals.suites.scores import SuiteResult, summed_up
from forge.observe.progress import Progress
from forge.records import Outcome, Task, Trajectory
from forge.rollouts.on_ray import RolloutPool
from forge.rollouts.rollout import Assignment
from forge.store.workspace import Workspace
from jobs.evaluation.samples import Kept
from jobs.evaluation.served import Served
from jobs.solving.adopted import with_adopted
from jobs.tasks.sources import read_source
from jobs.tasks.verifying import fit_for
from jobs.wiring import ProviderFactory, RunnerFactory, base_folder
from sandboxes.pick import Choice

HELDOUT = "heldout"
SIDES = ("heldout", "transfer")


class HeldoutSuite:
    """pass@k of the agent, by side. A rollout that infrastructure ended is masked and done again by the next run."""

    def __init__(self, served: Served, sandbox: Choice, progress: Progress) -> None:
        self._served, self._sandbox, self._progress = served, sandbox, progress
        self._config = served.config
        evaluation = served.config.evaluation
        alone = evaluation.data is not None and len(evaluation.suites) == 1
        self._workspace = Workspace(Path(str(evaluation.data)) if alone else served.config.workspace_path)
        self.folder = Path(evaluation.out) / HELDOUT

    def run(self) -> SuiteResult:
        """The result over held-out tasks; that over transfer tasks is in it as measures of their own."""
        source = read_source(self._workspace.root)
        fit_for(source, self._sandbox)
        evaluation = self._config.evaluation
        tasks = [task for side in SIDES for task in [task for task in source.tasks if task.side == side][: evaluation.limit]]
        if not tasks:
            raise ConfigError(f"{self._workspace.root} has no held-out tasks; give a workspace that forge improve has made tasks in")
        models = asyncio.run(self._served.stage_models())
        assignments = self._assignments(tasks, models)
        kept = Kept(self.folder / "samples.jsonl", Sample)
        try:
            masked = self._roll_out(assignments, kept)
        finally:
            kept.close()
        return self._result(tasks, [kept.known[key] for key in assignments if key in kept.known], models, masked)

    def _assignments(self, tasks: Sequence[Task], models: Mapping[str, str]) -> dict[str, Assignment]:
        """By key: task, models, agent, temperature and seed decide what comes of it."""
        evaluation, agent = self._config.evaluation, self._config.agent.model_dump(mode="json")
        found: dict[str, Assignment] = {}
        for sample in range(evaluation.samples):
            for task in tasks:
                seed = self._config.seed * 1000 + sample * 10
                assignment = Assignment(
                    task=task, step=HELDOUT, round=0, sample=sample, seed=seed, temperature=evaluation.temperature, models=dict(models)
                )
                body = json.dumps([assignment.content_hash(), agent], sort_keys=True)
                found[hashlib.sha256(body.encode()).hexdigest()] = assignment
        return found

    def _roll_out(self, assignments: Mapping[str, Assignment], kept: Kept[Sample]) -> Counter[str]:
        """What was lost to infrastructure, by reason."""
        todo = {(one.task.id, one.sample): key for key, one in assignments.items() if key not in kept.known}
        masked: Counter[str] = Counter()
        with self._progress.phase(HELDOUT, f"{len(assignments)} rollouts of the agent") as phase:
            phase.total(len(assignments), done=len(assignments) - len(todo), unit="rollouts")
            if todo:
                evaluation = self._config.evaluation
                pool = RolloutPool(self._factory(), workers=evaluation.workers, concurrency=evaluation.concurrency)
                try:
                    solved = 0
                    for done, trajectory in enumerate(pool.collect([assignments[key] for key in todo.values()]), 1):
                        if trajectory.outcome is Outcome.INFRA_ERROR:
                            masked[trajectory.reason] += 1
                            _stop_if_sick(done, masked)
                        else:
                            kept.add(sample_of(todo[trajectory.task_id, trajectory.sample], trajectory))
                            solved += trajectory.outcome is Outcome.SOLVED
                        phase.advance(now=f"{solved} solved")
                finally:
                    pool.close()
            phase.result(f"{len(todo) - masked.total()} now, {len(assignments) - len(todo)} from before, {masked.total()} masked")
        return masked

    def _factory(self) -> RunnerFactory:
        return RunnerFactory(
            config=with_adopted(self._config),
            provider=ProviderFactory(kind=self._sandbox.name),
            urls=self._served.urls,
            bases={name: str(base_folder(base)) for name, base in self._config.bases.items()},
            trees=str(self._workspace.trees),
            tasks=str(self._workspace.tasks),
            hidden={},  # of training tasks only, and there are none
            run_id="evaluate",
            api_key=self._served.key,
        )

    def _result(
        self, tasks: Sequence[Task], samples: Sequence[Sample], models: Mapping[str, str], masked: Mapping[str, int]
    ) -> SuiteResult:
        evaluation = self._config.evaluation
        settings = {
            "temperature": str(evaluation.temperature),
            "seed": str(self._config.seed),
            **{f"model of {s}": m for s, m in models.items()},
        }
        by_side = {
            side: summed_up(
                HELDOUT,
                evaluation.model or "promoted",
                [task.id for task in tasks if task.side == side],
                samples,
                masked=masked,
                unproven={},
                settings=settings,
                seed=self._config.seed,
            )
            for side in SIDES
        }
        whole, transfer = by_side["heldout"], by_side["transfer"]
        measures = whole.measures | {f"transfer {name}": measure for name, measure in transfer.measures.items()}
        return whole.model_copy(update={"measures": measures, "samples": len(samples), "problems": len(tasks)})


def sample_of(key: str, trajectory: Trajectory) -> Sample:
    """A graded rollout as a sample: its patch, whether the task is solved, and the tokens that it took."""
    solved = trajectory.outcome is Outcome.SOLVED
    return Sample(
        key=key,
        suite=HELDOUT,
        problem=trajectory.task_id,
        sample=trajectory.sample,
        answer=trajectory.patch,
        score=Score(passed=solved, reason=f"{trajectory.outcome.value}: {trajectory.reason}", seconds=round(trajectory.seconds, 3)),
        prompt_tokens=sum(len(turn.prompt_ids) for turn in trajectory.turns),
        completion_tokens=trajectory.completion_tokens,
    )


def _stop_if_sick(done: int, masked: Counter[str]) -> None:
    """A run in which a quarter of at least 20 rollouts was lost is stopped, not averaged."""
    if done >= 20 and masked.total() > done / 4:
        reason = masked.most_common(1)[0][0]
        raise EnvironmentLackError(
            f"{masked.total()} of {done} rollouts failed for lack of infrastructure ({reason}); mend that and run again"
        )
