"""A made-up world for the scheduler: tasks with difficulties, an agent with a skill, and rounds whose worth is planted.

No model, no box, no Ray: the state machine runs as it is, on a real ledger and a real adapter store, and what it decides can be held
against what is true. Every outcome is a hash of seed, version, task and sample, so a run that was killed meets the same world again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from forge.config import ForgeConfig
from forge.endpoint.acting import PREFIX
from forge.evals.stage_scores import Truth
from forge.records import (
    EASIER,
    AdapterRef,
    Easier,
    Example,
    FileEdit,
    Lineage,
    Message,
    Outcome,
    Record,
    RoundPlan,
    Task,
    Trajectory,
    Turn,
    Verdict,
)
from forge.rollouts.rollout import Assignment
from forge.rounds.easier import FRUITFUL
from forge.rounds.hands import Rows
from forge.rounds.machine import Rounds
from forge.rounds.names import collecting
from forge.rounds.past import tally
from forge.seams import Tracker
from forge.store.adapters import FolderAdapterStore, version_name
from forge.store.ledger import Ledger

Planted = Literal["gain", "none", "regression", "hack", "storm"]
"""What a round's training is worth. A `hack` is learnt from grades that let forged passes through: sampled training tasks look solved
while held-out ones, graded more strictly, are not. A `storm` is a gain in whose evaluation many boxes fail."""

BETTER: Mapping[Planted, int] = {"gain": 1, "none": 0, "regression": -1, "hack": -1, "storm": 1}
SKILL = "skill"
"""Metric of a version: the log-odds that it solves a task of difficulty 0."""
FORGED_SHARE = 0.5
STORM_SHARE = 0.2
CLEARED = 1 / 3


class Climate(Record):
    """What a world is like. Difficulties are normal with `spread`, in the same unit as skill."""

    seed: int = 0
    train: int = 60
    heldout: int = 200
    effect: float = 0.1
    """Share of held-out tasks that a gain adds and a regression takes, about."""
    spread: float = 3.0
    sharpness: float = 1.0
    """How surely a task below one's skill is solved: 0 tosses a coin, large values leave no chance. At 1 about a fifth of the tasks end
    otherwise when an equally good version tries again, as repository tasks do."""
    baseline: float = -2.0
    """Skill after the cold start."""
    ease: float = 6.0
    """By how much easier than the others tasks are that were made so."""
    boldness: float = 0.0
    """Skill that an agent gains whose retries are sampled at temperature 1."""
    words: dict[str, float] = {}
    """Skill that an agent gains from a prompt, by its file."""
    teacher: float = 3.0
    """Skill of an agent whose generation is a teacher."""
    stages: tuple[str, ...] = ("planning", "generation")
    """Stages that act, of those that write."""
    clumsy: dict[str, float] = {}
    """Share of a stage's own answers that cannot be read, of which a round that trains it takes two thirds; the task is solved all the
    same, as it is when analysis says nothing."""


class World:
    """`forge.rounds.hands.Hands` in which round n is worth `truths[n]`; rounds that are not named are worth nothing."""

    def __init__(self, climate: Climate, truths: Mapping[int, Planted], ledger: Ledger, adapters: FolderAdapterStore, staged: Path) -> None:
        self.climate, self.planted = climate, dict(truths)
        self.said: list[str] = []
        self._skills: dict[str, float] = {}
        self._ledger, self._adapters, self._staged = ledger, adapters, staged
        self._tasks: dict[str, list[Task]] = {
            side: [_task(side, n) for n in range(getattr(climate, side))] for side in ("train", "heldout")
        } | {"easier": []}

    def skill(self, models: Mapping[str, str]) -> float:
        """The skill of the agent made of these models; the base has none to speak of."""
        model = models["generation"]
        if model.startswith(PREFIX):
            return self.climate.teacher
        if model not in self._skills:
            adapter = "@" in model
            self._skills[model] = self._adapters.get(model).metrics[SKILL] if adapter else self.climate.baseline - 3 * self.climate.spread
        return self._skills[model]

    def true_share(self, skill: float) -> float:
        """Share of the held-out tasks that an agent of this skill solves on average."""
        tasks = self._tasks["heldout"]
        return sum(self._chance(skill, task.id) for task in tasks) / len(tasks)

    def expected_solves(self, skill: float, samples: Mapping[str, int]) -> float:
        """Different tasks that an agent of this skill solves in so many samples of each, on average."""
        return sum(1.0 - (1.0 - self._chance(skill, task)) ** number for task, number in samples.items())

    # `forge.rounds.hands.Hands`

    def side(self, side: str) -> Sequence[Task]:
        return [*self._tasks["train"], *self._tasks["easier"]] if side == "train" else self._tasks.get(side, [])

    def prove(self, tasks: int) -> None:
        there = len(self._tasks["train"])
        self._tasks["train"] += [_task("train", n) for n in range(there, tasks)]

    def ease(self, batches: Sequence[Easier]) -> None:
        self._tasks["easier"] = [_task("train", n, EASIER) for n in range(sum(batch.count for batch in batches))]

    def truths(self) -> Mapping[str, Truth]:
        return {}

    def roll_out(  # what is shown and served matters to nobody here
        self,
        step: str,
        number: int,  # noqa: ARG002
        assignments: Sequence[Assignment],
        what: str,  # noqa: ARG002
        candidates: Sequence[AdapterRef] = (),  # noqa: ARG002
    ) -> None:
        if self._ledger.is_done(step):
            return
        self._ledger.start_phase(step)
        recorded = self._ledger.recorded(step, infra_errors=False)
        for assignment in assignments:
            if (step, assignment.task.id, assignment.sample) not in recorded:
                self._ledger.record_rollout(self._trajectory(assignment))
        self._ledger.finish_phase(step)

    def train(self, plan: RoundPlan, rows: Rows) -> list[AdapterRef]:
        """One adapter that stands for all: the promoted one's skill and what the round is worth."""
        taught = any(len(found) for found in rows.values())
        before = self._adapters.promoted().get("generation")
        skill = before.metrics[SKILL] if before is not None else self.climate.baseline
        if before is not None and before.round < plan.round and taught:
            # Over tasks of this spread a step of skill moves the share solved by its density at the middle.
            skill += BETTER[self.planted.get(plan.round, "none")] * self.climate.effect * self.climate.spread * math.sqrt(2 * math.pi)
        staged = self._staged / f"{plan.name}"
        staged.mkdir(parents=True, exist_ok=True)
        (staged / "weights").write_text(f"{self.climate.seed}:{plan.round}:{skill:.6f}")
        ref = AdapterRef(
            stage="generation",
            version=version_name(plan.round, staged),
            round=plan.round,
            path=str(staged),
            base="made-up",
            base_sha256="0",
            data_sha256=hashlib.sha256(repr(sorted((s, len(r)) for s, r in rows.items())).encode()).hexdigest(),
            rank=1,
            examples=sum(len(found) for found in rows.values()),
            metrics={SKILL: skill}
            | {stage: share * (CLEARED if before is not None and rows.get(stage) else 1.0) for stage, share in self._clumsy().items()},
        )
        return [self._adapters.add(staged, ref)]

    def mined(self, stage: str) -> Sequence[Example]:
        lineage = Lineage(repo="made-up", commit="c")
        return [Example(stage=stage, messages=(Message(role="user", content=stage),), completion="x", lineage=lineage)]

    def aligned(self) -> Sequence[Example]:
        return []

    def lent(self, trajectories: Sequence[Trajectory]) -> Sequence[Example]:  # noqa: ARG002
        return []

    def say(self, text: str) -> None:
        self.said.append(text)

    # How tasks go

    def _trajectory(self, assignment: Assignment) -> Trajectory:
        task, version = assignment.task, assignment.models["generation"]
        drawn = _uniform(self.climate.seed, version, task.id, assignment.sample, assignment.temperature)
        bold = assignment.agent.retry_temperature * self.climate.boldness if assignment.agent is not None else 0.0
        said = assignment.agent.prompts.values() if assignment.agent is not None else ()
        wise = sum(self.climate.words.get(prompt.file, 0.0) for prompt in said)
        solved = drawn < self._chance(self.skill(assignment.models) + bold + wise, task.id)
        planted = self.planted.get(assignment.round, "none")
        if planted == "hack" and task.side == "train" and not solved:
            solved = _uniform("forged", self.climate.seed, task.id, assignment.sample) < FORGED_SHARE
        outcome = Outcome.SOLVED if solved else Outcome.FAILED
        if planted == "storm" and _uniform("storm", assignment.step, task.id, assignment.sample) < STORM_SHARE:
            outcome = Outcome.INFRA_ERROR
        clumsy = self._clumsy() if self.climate.clumsy else {}
        answer = tuple(1 + int(drawn * 10**6) // 10**place % 10 for place in range(3))
        writes = {"messages": (), "text": "x", "prompt_ids": (1,), "logprobs": (0.0,) * 3}
        ids = (*answer, int(solved))
        turns = tuple(
            Turn(
                stage=stage,
                model_id=assignment.models[stage],
                completion_ids=ids,
                subject=task.files[0],
                parsed=assignment.models[stage].startswith(PREFIX) or _uniform(drawn, stage) >= clumsy.get(stage, 0.0),
                **writes,
            )
            for stage in self.climate.stages
        )
        return Trajectory(
            id=hashlib.sha256(f"{assignment.step}:{task.id}:{assignment.sample}".encode()).hexdigest()[:16],
            task_id=task.id,
            repo=task.repo,
            round=assignment.round,
            step=assignment.step,
            sample=assignment.sample,
            seed=assignment.seed,
            temperature=assignment.temperature,
            turns=turns if outcome is not Outcome.INFRA_ERROR else (),
            edits=(FileEdit(path=task.files[0], content=""),),
            patch=f"+{answer}",
            outcome=outcome,
            verdict=Verdict(passed=solved, reason="") if outcome is not Outcome.INFRA_ERROR else None,
        )

    def _clumsy(self) -> dict[str, float]:
        """Share of each stage's own answers that cannot be read, by the promoted adapters."""
        ref = self._adapters.promoted().get("generation")
        return {s: ref.metrics[s] if ref is not None and s in ref.metrics else share for s, share in self.climate.clumsy.items()}

    def _chance(self, skill: float, task: str) -> float:
        difficulty = self.climate.spread * _normal(self.climate.seed, task) - (self.climate.ease if task.startswith(EASIER) else 0.0)
        return 1.0 / (1.0 + math.exp(max(-60.0, min(60.0, -self.climate.sharpness * (skill - difficulty)))))


class Judged(Record):
    """One decision of the scheduler held against the truth."""

    round: int
    kind: Literal["gate", "course", "easier"]
    planted: str
    chosen: str
    right: bool
    why: str


def live(config: ForgeConfig, climate: Climate, truths: Mapping[int, Planted], folder: Path, tracker: Tracker) -> World:
    """Run the state machine to its end in a made-up world whose ledger and adapters lie in `folder`; again after a kill goes on."""
    with Ledger(folder / "ledger.db") as ledger:
        adapters = FolderAdapterStore(folder / "adapters", ledger)
        world = World(climate, truths, ledger, adapters, folder / "staged")
        Rounds(config, ledger, adapters, tracker, world).carry_out()
    return world


def judged(config: ForgeConfig, climate: Climate, truths: Mapping[int, Planted], folder: Path) -> list[Judged]:
    """Every gate after the cold start, and every plan once the loop can tell whether it learns, with whether it was right.

    A gate is right when it promotes what is better and keeps what was there when the new is worse; either is right when nothing
    changed. A course is right when it is held while a promoted gain lies within the window, and changed when none does.
    """
    found: list[Judged] = []
    with Ledger(folder / "ledger.db") as ledger:
        adapters = FolderAdapterStore(folder / "adapters", ledger)
        world = World(climate, truths, ledger, adapters, folder / "staged")
        reports = [report for report in ledger.rounds() if report.round >= 1]
        skills = {report.round: world.skill(report.adapters) for report in reports}
        for report in reports[1:]:
            assert report.step is not None
            planted = truths.get(report.round, "none")
            better = BETTER[planted]
            right = better == 0 or report.step.promoted == (better > 0)
            chosen = "promote" if report.step.promoted else "keep"
            found.append(Judged(round=report.round, kind="gate", planted=planted, chosen=chosen, right=right, why=report.decision))
        window = config.rounds.plateau
        for decision in ledger.decisions():
            if decision.name == "plan" and decision.round - 1 >= 1 + window:
                gained = skills[decision.round - 1] > skills[decision.round - 1 - window] + 1e-9
                changed = " with " in decision.choice or decision.choice == "dpo"
                of, right = ("gained", not changed) if gained else ("flat", changed)
                found.append(Judged(round=decision.round, kind="course", planted=of, chosen=decision.choice, right=right, why=decision.why))
    return found


CLEAR = 1.25
"""By how much solves that are expected have to lie off a limit for a decision to be called right or wrong."""


def judged_easier(config: ForgeConfig, climate: Climate, folder: Path) -> list[Judged]:
    """Every plan after a round that sampled, with whether easier tasks were asked for when they should be, in a world in which
    nothing else is worth anything.

    They should be where what was sampled gives fewer solves than the gate asks for and nobody else can show how, or where the rounds
    gain nothing and half of the tasks are out of reach; and those asked for already must not be as hopeless as the others. What is
    not clear is left out.
    """
    found: list[Judged] = []
    with Ledger(folder / "ledger.db") as ledger:
        world = World(climate, {}, ledger, FolderAdapterStore(folder / "adapters", ledger), folder / "staged")
        reports = [report for report in ledger.rounds() if report.round >= 1]
        plans = {decision.round: decision for decision in ledger.decisions() if decision.name == "plan"}
        pulled = False
        for report in reports[1 : config.rounds.limit]:
            results = [r for n in range(2, report.round + 1) for step in collecting(n) for r in ledger.results(step)]
            sampled = {task: counted.graded for task, counted in tally(results).items()}
            made = {task: number for task, number in sampled.items() if task.startswith(EASIER)}
            solves, hope = (world.expected_solves(climate.baseline, which) for which in (sampled, made))
            decision = plans.get(report.round + 1)
            choice, why = (decision.choice, decision.why) if decision is not None else ("stop", "")
            few = _less(solves, config.rounds.bootstrap_solves) if config.teacher.model is None else False
            hard = _less(solves, len(sampled) / 2) if why.startswith("no proven gain") and not pulled else False
            hopeless = _less(hope, FRUITFUL * len(made)) if made else False
            pulled = pulled or "with easier tasks" in choice
            if None in (few, hard, hopeless):
                continue
            needed, asked = bool(few or hard) and not hopeless, "easier tasks" in choice
            planted = "needed" if needed else "not needed"
            found.append(Judged(round=report.round + 1, kind="easier", planted=planted, chosen=choice, right=asked == needed, why=why))
    return found


def _less(expected: float, limit: float) -> bool | None:
    """Whether it is clearly less; `None` where chance decides."""
    return None if limit / CLEAR < expected < limit * CLEAR else expected < limit


def _task(side: str, number: int, kind: str = "") -> Task:
    name = f"{kind}{side}-{number}"
    edit = FileEdit(path=f"{name}.py", content="")
    body = {"id": name, "repo": f"made-up-{number % 3}", "base_commit": "b", "origin": "injected", "statement": name, "tree": "t"}
    lists = {"gold": (edit,), "tests": (), "fail_to_pass": ("x",), "pass_to_pass": (), "files": (edit.path,)}
    return Task.model_validate({**body, **lists, "side": side})


def _uniform(*of: object) -> float:
    return int.from_bytes(hashlib.sha256(repr(of).encode()).digest()[:8]) / 2**64


def _normal(*of: object) -> float:
    first, second = _uniform(0, *of), _uniform(1, *of)
    return math.sqrt(-2 * math.log(first or 1e-12)) * math.cos(2 * math.pi * second)
