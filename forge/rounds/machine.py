"""The state machine of rounds: plan → probe → collect → select → train → evaluate → gate → promote, until a plan says stop.

Every state leaves its mark in the ledger before the next one begins: rollouts by key, decisions before they are acted on, versions
under the hash of their weights, the report last of all. A restart walks through the same states, finds what is there and goes on.
What is carried out, and where, is behind `Hands`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Protocol

from forge.config import ForgeConfig
from forge.endpoint.acting import PREFIX
from forge.evals.stage_scores import Truth
from forge.evals.steps import solved_by_task, step_report
from forge.observe.metrics import HELDOUT, ROUND
from forge.records import (
    STAGES,
    AdapterRef,
    Allocation,
    Decision,
    Example,
    Preference,
    RoundPlan,
    RoundReport,
    StepReport,
    Task,
    Trajectory,
)
from forge.rollouts.rollout import Assignment
from forge.rounds import bootstrap, curriculum, gate, pairs, plateau
from forge.rounds.gate import Gate, Regression
from forge.rounds.past import Past, Tally, past_of, second_look, tally
from forge.rounds.plan import Means, in_words, next_plan, overspent
from forge.rounds.select import select, with_replay
from forge.rounds.spent import spent_of
from forge.seams import Tracker
from forge.store.adapters import FolderAdapterStore
from forge.store.ledger import Ledger

Rows = Mapping[str, Sequence[Example] | Sequence[Preference]]
EVALUATED = ("heldout", "transfer")


class Hands(Protocol):
    """What a round needs done. Each may be called again after a restart, and then does only what is still to do."""

    def side(self, side: str) -> Sequence[Task]:
        """The proven tasks of one side of the split, always in the same order."""

    def prove(self, tasks: int) -> None:
        """See to it that there are so many training tasks, as far as there are commits and bugs for them."""

    def truths(self) -> Mapping[str, Truth]:
        """What the gold change of each held-out task touches, by task id."""

    def roll_out(self, step: str, number: int, assignments: Sequence[Assignment], what: str, candidates: Sequence[AdapterRef] = ()) -> None:
        """Have every assignment's trajectory in the ledger; the promoted adapters and `candidates` are served."""

    def train(self, plan: RoundPlan, rows: Rows) -> list[AdapterRef]:
        """Stored adapters of the stages whose rows teach something, from the frozen base; pairs are trained on by DPO."""

    def mined(self, stage: str) -> Sequence[Example]:
        """Cold-start rows of a stage."""

    def lent(self, trajectories: Sequence[Trajectory]) -> Sequence[Example]:
        """Rows for tasks without a success that another task's success provably solves."""

    def say(self, text: str) -> None:
        """Show a line to whoever watches."""


class Rounds:
    """All rounds of one run. Decisions are the pure functions of `forge.rounds`; this carries them out in order."""

    def __init__(self, config: ForgeConfig, ledger: Ledger, adapters: FolderAdapterStore, tracker: Tracker, hands: Hands) -> None:
        self._config, self._rounds = config, config.rounds
        self._ledger, self._adapters, self._tracker, self._hands = ledger, adapters, tracker, hands
        self.outlook = ""
        """What the last plan was, in words."""

    @property
    def promoted(self) -> str | None:
        """Name of the step whose adapters are promoted."""
        return self._past.promoted()

    def carry_out(self) -> None:
        """Baseline, cold start and rounds, up to the plan that says stop."""
        self._baseline()
        for report in self._ledger.rounds()[1:]:
            self._hands.say(f"  {report.name}: done by an earlier run ({report.decision})")
        while True:
            plan = self.plan()
            if plan.kind == "stop":
                break
            self._round(plan)
        self._choose_among()

    def plan(self) -> RoundPlan:
        """The next round's plan; decided once. A plan to stop is decided anew each time: limits and budgets may have been raised."""
        progress = plateau.progress(self._past, self._rounds)
        if progress.choice == "doubt" and progress.steps is not None and self._goes_on():
            for name in progress.steps:
                self._look_again(name, self._past.next_round)
            self.__dict__.pop("_past", None)
        decision, plan = next_plan(self._past, self._means(), self._rounds)
        if plan.kind != "stop":
            plan = self._ledger.decide(plan.round, "plan", RoundPlan, lambda: (decision, plan))
            decision = next(d for d in self._ledger.decisions(plan.round) if d.name == "plan")
        self.outlook = in_words(plan, decision.why)
        self._hands.say(f"  {self.outlook}")
        return plan

    def _choose_among(self) -> None:
        """Several answers to each held-out task by the promoted adapters, for what choosing by review is worth."""
        name = self._past.promoted()
        if self._rounds.best_of < 2 or name is None:
            return
        step, number = choosing(name), self._past.next_round - 1
        asked = [
            self._sample(task, step, number, sample, self._rounds.temperature, self._models())
            for task in self._hands.side("heldout")
            for sample in range(self._rounds.best_of)
        ]
        self._hands.roll_out(step, number, asked, f"{self._rounds.best_of} answers to each held-out task, by {name}")

    # States

    def _baseline(self) -> None:
        step = self._evaluate("baseline", 0, self._config.base_of_stages())
        if not self._ledger.rounds():
            self._record(
                RoundReport(
                    round=0,
                    name="baseline",
                    examples={},
                    step=step.model_copy(update={"promoted": True}),
                    decision="the base alone, through the same agent",
                    adapters={},
                )
            )

    def _round(self, plan: RoundPlan) -> None:
        began = time.monotonic()
        self._tracker.log({ROUND: float(plan.round)})
        if plan.tasks > len(self._hands.side("train")):
            self._hands.prove(plan.tasks)
        collected = self._collect(plan)
        report = RoundReport(
            round=plan.round, name=plan.name, plan=plan, examples={}, collected=collected, step=None, decision="", adapters={}
        )
        if plan.kind == "rft" and (refusal := self._refused(plan)):
            self._finish(report.model_copy(update={"decision": refusal}), began)
            return
        rows, dropped = self._rows(plan)
        refs = self._hands.train(plan, rows)
        retired = self._retired(plan)
        step = self._evaluate(plan.name, plan.round, self._models() | {ref.stage: ref.model_id for ref in refs}, refs, retired)
        decided = self._gate(plan, step, refs, retired)
        if decided.promote and any(self._ledger.promoted().get(ref.stage) != ref.model_id for ref in refs):
            self._adapters.promote(refs)
        changes = {
            "examples": {stage: len(found) for stage, found in rows.items()},
            "dropped": dropped,
            "step": step.model_copy(update={"promoted": decided.promote}),
            "decision": decided.why,
        }
        self._finish(report.model_copy(update=changes), began)
        self._hands.say(f"  {plan.name}: held-out pass@1 {step.pass_at_1:.1%}: {decided.why}")

    def _collect(self, plan: RoundPlan) -> dict[str, int]:
        """Outcomes of the round's sampled rollouts of training tasks; none for a round that learns from what there is."""
        if plan.kind not in ("rft", "teacher"):
            return {}
        tasks = [task.id for task in self._hands.side("train")]
        probed = curriculum.probes(tasks, self._past.tallies, plan, self._rounds)
        probe, collect = collecting(plan.round) if plan.kind == "rft" else teaching(plan.round)
        what = "training tasks, sampled" if plan.kind == "rft" else "training tasks, acted on by the teacher"
        if plan.probe < plan.samples and plan.kind == "rft":
            self._hands.roll_out(probe, plan.round, list(self._sampled(plan, probe, probed.samples)), "training tasks, probed")
            found = tally(self._ledger.results(probe))
            probed = self._ledger.decide(plan.round, "curriculum", Allocation, lambda: curriculum.rest(probed, found, plan))
        asked = list(self._sampled(plan, collect, probed.samples, first=plan.probe if plan.probe < plan.samples else 0))
        if asked:
            self._hands.roll_out(collect, plan.round, asked, what)
        self.__dict__.pop("_past", None)
        counts = [self._ledger.outcomes(step) for step in (probe, collect)]
        return {name: sum(c.get(name, 0) for c in counts) for name in {**counts[0], **counts[1]}}

    def _refused(self, plan: RoundPlan) -> str:
        """Why the agent is not to be trained on its own answers yet; empty when it may."""

        def judge() -> tuple[Decision, Decision]:
            decision = bootstrap.self_training(self._past, self._rounds.bootstrap_solves)
            return decision, decision

        decision = self._ledger.decide(plan.round, "bootstrap", Decision, judge)
        if decision.choice == "allowed":
            return ""
        self._hands.say(f"  {plan.name}: {decision.why}")
        return decision.why

    def _rows(self, plan: RoundPlan) -> tuple[Rows, dict[str, int]]:
        """What each stage learns from in this round, and counts of what was left out, by reason."""
        if plan.kind == "cold-start":
            return {stage: self._hands.mined(stage) for stage in STAGES}, {}
        by_id = {task.id: task for task in self._hands.side("train")}
        trajectories = self._trajectories(plan.round)
        settings = self._rounds
        if plan.kind == "dpo":
            found = pairs.preferences(trajectories, by_id, keep_per_task=settings.keep_per_task)
            return {stage: rows for stage, rows in found.items() if len(rows) >= settings.preference_pairs}, {}
        chosen = select(trajectories, by_id, keep_per_task=settings.keep_per_task, repository_share=settings.repository_share)
        borrowed = self._hands.lent(trajectories)
        chosen.rows["generation"] += borrowed
        self._hands.say(f"  {chosen.solved_tasks} tasks solved so far; their answers solve {len(borrowed)} others too")
        rows = {s: with_replay(chosen.rows[s], self._hands.mined(s), settings.replay, self._config.seed) for s in STAGES}
        return rows, chosen.dropped

    def _evaluate(
        self, name: str, number: int, models: dict[str, str], refs: Sequence[AdapterRef] = (), retired: Sequence[Task] = ()
    ) -> StepReport:
        """The greedy held-out step of these models, beside the transfer tasks and some that were solved before."""
        step = f"evaluate-{name}"
        tasks = [*(task for side in EVALUATED for task in self._hands.side(side)), *retired]
        asked = [
            Assignment(task=task, step=step, round=number, sample=0, seed=self._config.seed, temperature=0.0, models=models)
            for task in tasks
        ]
        self._hands.roll_out(step, number, asked, "held-out and transfer tasks, greedy", refs)
        ids = {task.id for task in self._hands.side("heldout")}
        trajectories = [t for t in self._ledger.trajectories(step) if t.task_id in ids]
        before = self._past.promoted()
        report = step_report(
            name,
            number,
            trajectories,
            promoted=False,
            truths=self._hands.truths(),
            before=self._past.heldout[before] if before else None,
        )
        self._tracker.log({HELDOUT: report.pass_at_1}, tags={"step": name})
        return report

    def _gate(self, plan: RoundPlan, step: StepReport, refs: Sequence[AdapterRef], retired: Sequence[Task]) -> Gate:
        """Whether the round's adapters are promoted; recorded before anything is done about it."""
        before = self._past.promoted()
        if before is None:
            first = Gate(choice="promote", why="first adapters: promoted")
            return self._ledger.decide(plan.round, "gate", Gate, lambda: (_told(first), first))

        def judge() -> tuple[Decision, Gate]:
            results = self._ledger.results(f"evaluate-{step.name}")
            ids = {task.id for task in retired}
            again = [r for r in results if r.task_id in ids]
            lost = tuple(sorted(task for task, found in tally(again).items() if not found.solved))
            found = gate.decide(
                self._past.heldout[before],
                solved_by_task(self._heldout(f"evaluate-{step.name}")),
                self._rounds.max_p,
                second_look=bool(self._rounds.second_look),
                regression=Regression(tasks=len(tally(again)), lost=lost) if again else None,
            )
            return _told(found), found

        decided = self._ledger.decide(plan.round, "gate", Gate, judge)
        return decided if decided.choice != "doubt" else self._second_look(plan, before, step, refs)

    def _second_look(self, plan: RoundPlan, before: str, step: StepReport, refs: Sequence[AdapterRef]) -> Gate:
        """Further rollouts of the held-out tasks by the old and the new adapters, and what they say together with the greedy ones."""
        self._look_again(before, plan.round)
        self._look_again(step.name, plan.round, refs)
        heldout = {task.id for task in self._hands.side("heldout")}
        old, new = (self._tallied(name, heldout) for name in (before, step.name))

        def judge() -> tuple[Decision, Gate]:
            found = gate.look_again(old, new, self._rounds.max_p)
            return _told(found), found

        return self._ledger.decide(plan.round, "second look", Gate, judge)

    def _look_again(self, name: str, number: int, refs: Sequence[AdapterRef] = ()) -> None:
        """Sampled rollouts of the held-out tasks by the adapters that an evaluated step stands for: `refs` over the promoted ones,
        or, without, those that were promoted after its round."""
        adapters = next((report.adapters for report in self._ledger.rounds() if report.name == name), {})
        served = refs or [self._adapters.get(model) for model in adapters.values()]
        models = self._models() | {ref.stage: ref.model_id for ref in served}
        asked = [
            self._sample(task, second_look(name), number, sample, self._rounds.temperature, models)
            for task in self._hands.side("heldout")
            for sample in range(1, self._rounds.second_look + 1)
        ]
        self._hands.roll_out(second_look(name), number, asked, f"held-out tasks again, by {name}", served)

    def _tallied(self, name: str, heldout: Collection[str]) -> dict[str, Tally]:
        results = [*self._ledger.results(f"evaluate-{name}"), *self._ledger.results(second_look(name))]
        return tally(r for r in results if r.task_id in heldout)

    def _finish(self, report: RoundReport, began: float) -> None:
        decisions = tuple(self._ledger.decisions(report.round))
        self._record(report.model_copy(update={"decisions": decisions, "seconds": time.monotonic() - began}))

    def _record(self, report: RoundReport) -> None:
        """The report in the ledger, with the adapters that are promoted by now: the round is over."""
        adapters = {stage: ref.model_id for stage, ref in self._adapters.promoted().items()}
        tokens = self._ledger.tokens() - sum(earlier.tokens for earlier in self._ledger.rounds() if earlier.round < report.round)
        self._ledger.record_round(report.model_copy(update={"adapters": adapters, "tokens": tokens}))
        self.__dict__.pop("_past", None)

    # What decisions are made from

    @cached_property
    def _past(self) -> Past:
        """The finished rounds; read anew after each."""
        heldout = {task.id for task in self._hands.side("heldout")}
        return past_of(self._ledger, heldout, collecting, spent_of(self._ledger, self._config))

    def _goes_on(self) -> bool:
        """Whether a further round may be planned at all."""
        return self._past.next_round <= self._rounds.limit + 1 and not overspent(self._past.spent, self._rounds.budget)

    def _means(self) -> Means:
        train = self._hands.side("train")
        taken = max((plan.tasks for plan in self._past.plans), default=0)
        stock = self._pairs() if len(self._past.rounds) > 1 + self._rounds.plateau else {}
        return Means(tasks=len(train), fresh=max(0, len(train) - taken), pairs=stock, teacher=self._config.teacher.model is not None)

    def _pairs(self) -> dict[str, int]:
        by_id = {task.id: task for task in self._hands.side("train")}
        found = pairs.preferences(self._trajectories(self._past.next_round), by_id, keep_per_task=self._rounds.keep_per_task)
        return {stage: len(rows) for stage, rows in found.items()}

    def _retired(self, plan: RoundPlan) -> list[Task]:
        """Some of the training tasks that were solved so surely that they are not sampled any more."""
        before = {number: found for number, found in self._past.tallies.items() if number <= plan.round}
        found = [task for task in self._hands.side("train") if curriculum.is_retired(task.id, before, self._rounds.retire)]
        return sorted(found, key=lambda task: task.content_hash())[: self._rounds.regression]

    def _trajectories(self, number: int) -> list[Trajectory]:
        """All rollouts of training tasks up to this round, the teacher's too."""
        steps = [step for n in range(2, number + 1) for step in (*collecting(n), *teaching(n))]
        return [t for step in steps for t in self._ledger.trajectories(step)]

    def _heldout(self, step: str) -> list[Trajectory]:
        ids = {task.id for task in self._hands.side("heldout")}
        return [t for t in self._ledger.trajectories(step) if t.task_id in ids]

    def _models(self) -> dict[str, str]:
        """Model ids of the promoted adapters, the base where there is none."""
        return self._config.base_of_stages() | {stage: ref.model_id for stage, ref in self._adapters.promoted().items()}

    def _sampled(self, plan: RoundPlan, step: str, samples: Mapping[str, int], first: int = 0) -> Iterator[Assignment]:
        models = self._models() if plan.kind == "rft" else {stage: f"{PREFIX}{stage}" for stage in STAGES}
        for task in self._hands.side("train"):
            for sample in range(first, samples.get(task.id, 0)):
                yield self._sample(task, step, plan.round, sample, plan.temperature, models)

    def _sample(self, task: Task, step: str, number: int, sample: int, temperature: float, models: dict[str, str]) -> Assignment:
        seed = self._config.seed * 1000 + number * 100 + sample * 10
        return Assignment(task=task, step=step, round=number, sample=sample, seed=seed, temperature=temperature, models=models)


def collecting(number: int) -> tuple[str, str]:
    """Steps of a round's own rollouts of training tasks: the probe and the rest."""
    return f"probe-{number - 1}", f"collect-{number - 1}"


def choosing(name: str) -> str:
    """The step of several answers to each held-out task by the adapters that were promoted after an evaluated step."""
    return f"choose-{name}"


def teaching(number: int) -> tuple[str, str]:
    """Steps of a round's rollouts by the teacher; it is not probed."""
    return f"teach-{number - 1}-probe", f"teach-{number - 1}"


def _told(found: Gate) -> Decision:
    """The decision that a gate comes to, as it is listed; round and name are the ledger's."""
    return Decision(round=0, name="", choice=found.choice, why=found.why, figures=found.figures)
