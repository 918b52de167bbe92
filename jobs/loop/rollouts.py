"""Rollout steps of a run: every assignment exactly once in the ledger, whatever was killed on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forge.errors import EnvironmentLackError
from forge.observe.metrics import QUEUE, log_rollout
from forge.records import AdapterRef, Outcome, Task
from forge.rollouts.on_ray import RolloutPool
from forge.rollouts.rollout import Assignment
from forge.tasks.on_ray import TaskSet
from jobs.loop.context import RunContext
from jobs.loop.serving import Serving
from jobs.serving.canary import check_adapters
from jobs.wiring import ProviderFactory, RunnerFactory, hidden_files, own_key, teacher_of

SICK_SHARE, SICK_MINIMUM = 0.25, 20
"""A step in which this share of at least so many rollouts ended as infrastructure errors is stopped, not averaged."""


class RolloutSteps:
    """Carries out steps on one pool of workers, against an endpoint that serves what the step needs."""

    def __init__(self, run: RunContext, taskset: TaskSet, serving: Serving) -> None:
        self._run, self._taskset, self._serving = run, taskset, serving
        self._pool: RolloutPool | None = None

    def side(self, side: str) -> list[Task]:
        """The tasks of one side of the split."""
        return [task for task in self._taskset.tasks if task.side == side]

    def carry_out(
        self, step: str, number: int, assignments: Sequence[Assignment], what: str, candidates: Sequence[AdapterRef] = ()
    ) -> None:
        """Every assignment that has no result yet; each result is in the ledger as soon as it is there.

        The endpoint then serves the promoted adapters and `candidates`; with nothing to do it is not even started.
        """
        run = self._run
        if run.ledger.is_done(step):
            # What was masked stays so: decisions may rest on it, and other adapters may be promoted by now.
            run.progress.skipped(step, f"{len(run.ledger.recorded(step))} rollouts from an earlier run")
            return
        recorded = run.ledger.recorded(step, infra_errors=False)
        todo = [a for a in assignments if (step, a.task.id, a.sample) not in recorded]
        with run.phase(step, what, rollouts=len(assignments)) as phase:
            phase.now("the endpoint loads its adapters")
            urls = self._serving.serve(candidates)
            if candidates:
                phase.now("the canary compares the endpoint with what was trained")
                check_adapters(run.config, urls, candidates)
            phase.total(len(assignments), done=len(assignments) - len(todo), unit="rollouts")
            solved = 0
            for done, trajectory in enumerate(self._workers(urls).collect(todo), 1):
                run.ledger.record_rollout(trajectory)
                solved += trajectory.outcome is Outcome.SOLVED
                log_rollout(run.tracker, trajectory)
                run.tracker.log({QUEUE: float(len(todo) - done)})
                phase.advance(now=f"{solved} solved")
                self._stop_if_sick(step, done)
            outcomes = run.ledger.outcomes(step)
            phase.result(", ".join(f"{count} {name}" for name, count in outcomes.items() if count))
        run.ledger.compact(step, run.results.trajectories(number, step))
        run.ledger.finish_phase(step, outcomes)

    def close(self) -> None:
        """End the workers; the endpoint stays up for whoever uses it."""
        if self._pool is not None:
            self._pool.close()

    def _workers(self, urls: Mapping[str, str]) -> RolloutPool:
        if self._pool is None:
            run = self._run
            factory = RunnerFactory(
                config=run.config,
                provider=ProviderFactory(kind=run.sandbox.name),
                urls=dict(urls),
                bases={name: str(folder) for name, folder in run.bases.items()},
                trees=str(run.workspace.trees),
                tasks=str(run.workspace.tasks),
                hidden=dict(hidden_files(self._taskset.heldout_files)),
                run_id=run.run_id,
                api_key=own_key(run.config),
                teacher=teacher_of(run.config, run.workspace),
            )
            box = run.config.sandbox
            self._pool = RolloutPool(factory, workers=box.workers, concurrency=box.concurrency)
        return self._pool

    def _stop_if_sick(self, step: str, done: int) -> None:
        if done >= SICK_MINIMUM and done % SICK_MINIMUM == 0:
            outcomes = self._run.ledger.outcomes(step)
            sick = outcomes.get(Outcome.INFRA_ERROR.value, 0)
            if sick > SICK_SHARE * sum(outcomes.values()):
                reason = next(t.reason for t in self._run.ledger.trajectories(step) if t.outcome is Outcome.INFRA_ERROR)
                share = f"{sick} of {sum(outcomes.values())} rollouts"
                raise EnvironmentLackError(f"{share} failed for lack of infrastructure ({reason}); mend that and run again")
