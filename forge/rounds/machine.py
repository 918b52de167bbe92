"""The state machine of rounds: plan → probe → collect → select → train → evaluate → gate → promote, until a plan says stop.

Every state leaves its mark in the ledger before the next one begins: rollouts by key, decisions before they are acted on, versions
under the hash of their weights, the report last of all. A restart walks through the same states, finds what is there and goes on.
What is carried out, and where, is behind `Hands`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from functools import cached_property

from forge.config import ForgeConfig
from forge.evals.steps import solved_by_task, step_report
from forge.observe.metrics import HELDOUT, ROUND
from forge.records import EASIER, STAGES, AdapterRef, Allocation, Decision, Record, RoundPlan, RoundReport, StepReport, Task, Trajectory
from forge.rounds import bootstrap, curriculum, easier, gate, pairs, plateau, scaffold
from forge.rounds.gate import Gate, Regression
from forge.rounds.hands import Hands, Rows
from forge.rounds.names import SETTINGS_ALONE, WEIGHTS_ALONE, collecting, evaluating, teaching
from forge.rounds.past import Past, counted, past_of, tally
from forge.rounds.plan import Means, in_words, next_plan, overspent
from forge.rounds.scaffold import Settings, Trial
from forge.rounds.select import select, with_replay
from forge.rounds.spent import spent_of
from forge.rounds.steps import Steps
from forge.seams import Tracker
from forge.store.adapters import FolderAdapterStore
from forge.store.ledger import Ledger


class Proposed(Record):
    """Settings of the agent that one trial tries."""

    settings: Settings


class Rounds:
    """All rounds of one run. Decisions are the pure functions of `forge.rounds`; this carries them out in order."""

    def __init__(self, config: ForgeConfig, ledger: Ledger, adapters: FolderAdapterStore, tracker: Tracker, hands: Hands) -> None:
        self._config, self._rounds = config, config.rounds
        self._ledger, self._adapters, self._tracker, self._hands = ledger, adapters, tracker, hands
        self._steps = Steps(config, ledger, adapters, hands)
        self.outlook = ""
        """What the last plan was, in words."""

    @property
    def promoted(self) -> str | None:
        """Name of the step whose adapters and agent are in use."""
        return self._past.promoted()

    def carry_out(self) -> None:
        """Baseline, cold start and rounds, up to the plan that says stop; then what choosing among several answers is worth."""
        self._take_on()
        self._baseline()
        for report in self._ledger.rounds()[1:]:
            self._hands.say(f"  {report.name}: done by an earlier run ({report.decision})")
        while (plan := self.plan()).kind != "stop":
            self._round(plan)
        if self._rounds.best_of > 1 and self.promoted is not None:
            self._steps.choose(self.promoted, self._past.next_round - 1)
        self._each_alone()

    def plan(self) -> RoundPlan:
        """The next round's plan; decided once. A plan to stop is decided anew each time: limits and budgets may have been raised."""
        progress = plateau.progress(self._past, self._rounds)
        if progress.choice == "doubt" and progress.steps is not None and self._goes_on():
            for name in progress.steps:
                self._steps.look_again(name, self._past.next_round)
            self._forget()
        decision, plan = next_plan(self._past, self._means(), self._rounds)
        if plan.kind != "stop":
            plan = self._ledger.decide(plan.round, "plan", RoundPlan, lambda: (decision, plan))
            decision = next(d for d in self._ledger.decisions(plan.round) if d.name == "plan")
        self.outlook = in_words(plan, decision.why)
        self._hands.say(f"  {self.outlook}")
        return plan

    def _each_alone(self) -> None:
        """Held-out rollouts by which the gain of weights and that of the agent's settings can be told apart, where there are both."""
        reports = self._ledger.rounds()
        first = next((report for report in reports if report.adapters), None)
        if first is None or not reports[-1].agent or first.adapters == reports[-1].adapters:
            return
        number = reports[-1].round
        self._steps.evaluate(WEIGHTS_ALONE, number, self._steps.models(), settings={})
        refs = [self._adapters.get(model) for model in first.adapters.values()]
        models = self._config.base_of_stages() | first.adapters
        self._steps.evaluate(SETTINGS_ALONE, number, models, refs=refs, settings=reports[-1].agent)

    # States

    def _baseline(self) -> None:
        step = self._step_report("baseline", 0, self._steps.evaluate("baseline", 0, self._config.base_of_stages(), settings={}))
        if not self._ledger.rounds():
            promoted, why = step.model_copy(update={"promoted": True}), "the base alone, through the same agent"
            self._record(RoundReport(round=0, name="baseline", examples={}, step=promoted, decision=why, adapters={}))

    def _round(self, plan: RoundPlan) -> None:
        began = time.monotonic()
        self._tracker.log({ROUND: float(plan.round)})
        report = RoundReport(
            round=plan.round, name=plan.name, plan=plan, examples={}, step=None, decision="", adapters={}, agent=self._steps.settings()
        )
        report = self._searched(report, plan) if plan.kind == "scaffold" else self._trained(report, plan)
        decisions = tuple(self._ledger.decisions(plan.round))
        self._record(report.model_copy(update={"decisions": decisions, "seconds": time.monotonic() - began}))
        reached = f"held-out pass@1 {report.step.pass_at_1:.1%}: " if report.step else ""
        self._hands.say(f"  {plan.name}: {reached}{report.decision}")

    def _trained(self, report: RoundReport, plan: RoundPlan) -> RoundReport:
        """The report of a round that trains, its adapters promoted or not."""
        self._take_on(plan)
        report = report.model_copy(update={"collected": self._collect(plan)})
        short: tuple[str, ...] = ()
        if plan.kind in ("rft", "teacher"):
            decision, short = self._judged_stages(plan)
            if decision.choice == "refused":
                return report.model_copy(update={"decision": decision.why})
        rows, dropped = self._rows(plan, short)
        if plan.kind != "cold-start" and not any(rows.values()):
            return report.model_copy(update={"decision": "there is nothing to learn from: no rollout gives a row", "dropped": dropped})
        refs = self._hands.train(plan, rows)
        retired = self._retired(plan)
        models = self._steps.models() | {ref.stage: ref.model_id for ref in refs}
        step = self._step_report(plan.name, plan.round, self._steps.evaluate(plan.name, plan.round, models, refs=refs, beside=retired))
        decided = self._gate(report, refs, retired)
        if decided.promote and any(self._ledger.promoted().get(ref.stage) != ref.model_id for ref in refs):
            self._adapters.promote(refs)
        examples = {stage: len(found) for stage, found in rows.items()}
        return _judged(report, step, decided).model_copy(update={"examples": examples, "dropped": dropped})

    def _searched(self, report: RoundReport, plan: RoundPlan) -> RoundReport:
        """The report of a round that tries other settings of the agent on training tasks, and the best of them on the held-out ones."""
        tasks = sorted(self._hands.side("train"), key=lambda task: task.content_hash())[: plan.tasks]
        trials, searched = list[Trial](), self._rounds.scaffold
        for number in range(plan.samples):
            proposed = Proposed(settings=scaffold.propose(self._config.agent, report.agent, trials, self._config.seed, searched))
            told = Decision(round=0, name="", choice=scaffold.in_words(proposed.settings), why="proposed" if trials else "in use")
            proposed = self._ledger.decide(plan.round, f"trial {number + 1}", Proposed, lambda told=told, it=proposed: (told, it))  # type: ignore[misc]
            trials.append(self._steps.try_settings(plan, number, proposed.settings, tasks))
        chosen = self._ledger.decide(plan.round, "scaffold", Trial, lambda: scaffold.best(trials, plan.round, searched.token_price))
        if chosen.settings == report.agent:
            why = next(d.why for d in self._ledger.decisions(plan.round) if d.name == "scaffold")
            return report.model_copy(update={"decision": why})
        found = self._steps.evaluate(plan.name, plan.round, self._steps.models(), settings=chosen.settings)
        step = self._step_report(plan.name, plan.round, found)
        decided = self._gate(report.model_copy(update={"agent": chosen.settings}), (), ())
        adopted = chosen.settings if decided.promote else report.agent
        return _judged(report, step, decided).model_copy(update={"agent": adopted})

    def _collect(self, plan: RoundPlan) -> dict[str, int]:
        """Outcomes of the round's sampled rollouts of training tasks; none for a round that learns from what there is."""
        if plan.kind not in ("rft", "teacher"):
            return {}
        past, minimum = self._past, self._rounds.bootstrap_solves
        uneven = 0 < len(bootstrap.held_back(past.own, minimum)) < len(past.own)
        ids = [task.id for task in self._usual()][: plan.tasks] + [t.id for t in self._hands.side("train") if t.id.startswith(EASIER)]
        probed = curriculum.probes(ids, past.tallies, plan, self._rounds, retiring=not uneven)
        if plan.kind == "teacher":
            steps: tuple[str, ...] = (teaching(plan.round),)
            self._steps.collect(plan, steps[0], probed.samples, what="training tasks, acted on by the teacher")
        else:
            steps = collecting(plan.round)
            first = plan.probe if plan.probe < plan.samples else 0
            if first:
                self._steps.collect(plan, steps[0], probed.samples, what="training tasks, probed")
                found = tally(self._ledger.results(steps[0]))
                probed = self._ledger.decide(plan.round, "curriculum", Allocation, lambda: curriculum.rest(probed, found, plan))
            self._steps.collect(plan, steps[1], probed.samples, first=first, what="training tasks, sampled")
        self._forget()
        counts = [self._ledger.outcomes(step) for step in steps]
        return {name: sum(count.get(name, 0) for count in counts) for name in dict.fromkeys(n for count in counts for n in count)}

    def _judged_stages(self, plan: RoundPlan) -> tuple[Decision, tuple[str, ...]]:
        """Whether the agent may be trained on its own answers, and which of its stages may not yet."""
        minimum = self._rounds.bootstrap_solves

        def judge() -> tuple[Decision, Decision]:
            by_id = {task.id: task for task in self._hands.side("train")}
            own = bootstrap.own_answers(self._steps.training(plan.round), by_id)
            alone = plan.kind == "rft"
            decision = bootstrap.self_training(self._past, minimum, own) if alone else bootstrap.beside_teacher(plan.round, minimum, own)
            return decision, decision

        decision = self._ledger.decide(plan.round, "bootstrap" if plan.kind == "rft" else "stages", Decision, judge)
        return decision, bootstrap.held_back(counted(decision), int(decision.figures["minimum"]))

    def _rows(self, plan: RoundPlan, short: Collection[str]) -> tuple[Rows, dict[str, int]]:
        """What each stage learns from in this round, and counts of what was left out, by reason; of stages that are `short` of own
        answers, the teacher's alone."""
        if plan.kind == "cold-start":
            rows = {stage: self._steps.in_use(self._hands.mined(stage)) for stage in STAGES}
            if share := self._rounds.aligned_share:
                rows["generation"] = with_replay(rows["generation"], self._steps.in_use(self._hands.aligned()), share, self._config.seed)
            return rows, {}
        settings, by_id = self._rounds, {task.id: task for task in self._hands.side("train")}
        trajectories = self._steps.training(plan.round)
        if plan.kind == "dpo":
            found = pairs.preferences(trajectories, by_id, keep_per_task=settings.keep_per_task)
            return {stage: rows for stage, rows in found.items() if len(rows) >= settings.preference_pairs}, {}
        shares = {"repository_share": settings.repository_share, "soft_share": settings.soft_share}
        chosen = select(trajectories, by_id, keep_per_task=settings.keep_per_task, **shares)
        shown = bootstrap.by_teacher(trajectories)
        for stage in short:
            chosen.rows[stage] = select(shown[stage], by_id, keep_per_task=settings.keep_per_task, **shares).rows[stage]
        borrowed = self._hands.lent(trajectories)
        chosen.rows["generation"] += borrowed
        self._hands.say(f"  {chosen.solved_tasks} tasks solved so far; their answers solve {len(borrowed)} others too")
        taught = [stage for stage in STAGES if stage not in short or chosen.rows[stage]]  # the others keep their adapters
        mined = {stage: self._steps.in_use(self._hands.mined(stage)) for stage in taught}
        rows = {s: with_replay(chosen.rows[s], mined[s], settings.replay, self._config.seed) for s in taught}
        return rows, chosen.dropped

    def _gate(self, report: RoundReport, refs: Sequence[AdapterRef], retired: Sequence[Task]) -> Gate:
        """Whether the round's adapters or agent come into use; recorded before anything is done about it."""
        before = self._past.promoted()
        if before is None:
            first = Gate(choice="promote", why="first adapters: promoted")
            return self._ledger.decide(report.round, "gate", Gate, lambda: (_told(first), first))

        def judge() -> tuple[Decision, Gate]:
            graded, lost = self._steps.lost(report.name, retired)
            found = gate.decide(
                self._past.heldout[before],
                solved_by_task(self._steps.heldout(evaluating(report.name))),
                self._rounds.max_p,
                second_look=bool(self._rounds.second_look),
                regression=Regression(tasks=graded, lost=lost) if graded else None,
            )
            return _told(found), found

        decided = self._ledger.decide(report.round, "gate", Gate, judge)
        if decided.choice != "doubt":
            return decided
        old = self._steps.look_again(before, report.round)
        new = self._steps.look_again(report.name, report.round, report, refs)

        def judge_again() -> tuple[Decision, Gate]:
            found = gate.look_again(old, new, self._rounds.max_p)
            return _told(found), found

        return self._ledger.decide(report.round, "second look", Gate, judge_again)

    def _record(self, report: RoundReport) -> None:
        """The report in the ledger, with the adapters that are promoted by now: the round is over."""
        adapters = {stage: ref.model_id for stage, ref in self._adapters.promoted().items()}
        tokens = self._ledger.tokens() - sum(earlier.tokens for earlier in self._ledger.rounds() if earlier.round < report.round)
        self._ledger.record_round(report.model_copy(update={"adapters": adapters, "tokens": tokens}))
        self._forget()

    def _step_report(self, name: str, number: int, trajectories: Sequence[Trajectory]) -> StepReport:
        before = self._past.promoted()
        results = self._past.heldout[before] if before else None
        report = step_report(name, number, trajectories, promoted=False, truths=self._hands.truths(), before=results)
        self._tracker.log({HELDOUT: report.pass_at_1}, tags={"step": name})
        return report

    # What decisions are made from

    @cached_property
    def _past(self) -> Past:
        """The finished rounds, and the rollouts of the one under way."""
        heldout = {task.id for task in self._hands.side("heldout")}
        soft = {task.id for task in self._hands.side("train") if task.soft}
        return past_of(self._ledger, heldout, spent_of(self._ledger, self._config), soft)

    def _forget(self) -> None:
        """Have the past read anew: the ledger knows more by now."""
        self.__dict__.pop("_past", None)

    def _goes_on(self) -> bool:
        """Whether a further round may be planned at all."""
        return self._past.next_round <= self._rounds.limit + 1 and not overspent(self._past.spent, self._rounds.budget)

    def _means(self) -> Means:
        train, usual = {task.id: task for task in self._hands.side("train")}, len(self._usual())
        taken = max((plan.tasks for plan in self._past.plans if plan.kind != "scaffold"), default=0)
        stock: dict[str, int] = {}
        if len(self._past.rounds) > 1 + self._rounds.plateau:
            trajectories = self._steps.training(self._past.next_round)
            found = pairs.preferences(trajectories, train, keep_per_task=self._rounds.keep_per_task)
            stock = {stage: len(rows) for stage, rows in found.items()}
        teacher = self._config.teacher.model is not None
        eased = easier.variants(self._past, train.values(), self._rounds) if self._config.tasks.inject else None
        hard = easier.too_hard(self._past)
        return Means(tasks=usual, fresh=max(0, usual - taken), pairs=stock, teacher=teacher, too_hard=hard, easier=eased)

    def _usual(self) -> list[Task]:
        """The training tasks that were not made easier on purpose."""
        return [task for task in self._hands.side("train") if not task.id.startswith(EASIER)]

    def _take_on(self, plan: RoundPlan | None = None) -> None:
        """See to it that the training tasks are there that a plan asks for; at the start, all that any did, the one under way too."""
        earlier = [report.plan for report in self._ledger.rounds() if report.plan is not None]
        now = plan or self._ledger.decided(self._past.next_round, "plan", RoundPlan)
        under_way = [now] if now is not None else []
        wanted = max((asking.tasks for asking in (under_way if plan else [*earlier, *under_way])), default=0)
        if wanted > len(self._usual()):
            self._hands.prove(wanted)
        if (asked := easier.batches([*earlier, *under_way])) and (plan is None or plan.easier is not None):
            self._hands.ease(asked)

    def _retired(self, plan: RoundPlan) -> list[Task]:
        """Some of the training tasks that were solved so surely that they are not sampled any more."""
        before = {number: found for number, found in self._past.tallies.items() if number <= plan.round}
        found = [task for task in self._hands.side("train") if curriculum.is_retired(task.id, before, self._rounds.retire)]
        return sorted(found, key=lambda task: task.content_hash())[: self._rounds.regression]


def _judged(report: RoundReport, step: StepReport, decided: Gate) -> RoundReport:
    return report.model_copy(update={"step": step.model_copy(update={"promoted": decided.promote}), "decision": decided.why})


def _told(found: Gate) -> Decision:
    """The decision that a gate comes to, as it is listed; round and name are the ledger's."""
    return Decision(round=0, name="", choice=found.choice, why=found.why, figures=found.figures)
