"""Everything that a report says about a run, as one record, and the choice of trajectories worth reading."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from forge.evals.best_of_n import BestOfN
from forge.evals.cost import StepCost
from forge.evals.intervals import wilson
from forge.evals.levers import Levers
from forge.evals.paired import Paired, compare
from forge.evals.steps import solved_by_task
from forge.records import AdapterRef, Decision, Outcome, Record, RoundReport, Spent, StepReport, Task, Trajectory

StoryKind = Literal["success", "failure", "turned round"]


class BaseNote(Record):
    """A frozen base, and in one plain sentence what it is."""

    model: str
    sha256: str
    about: str
    stand_in: bool = False
    """The nano base: it lets the code run without a download and is no coding model."""


class Evaluated(Record):
    """One set of tasks and every step that was evaluated on it, in order."""

    tasks: int
    steps: tuple[StepReport, ...]


class StoryTurn(Record):
    """One turn as a person reads it: without token ids."""

    stage: str
    model_id: str
    attempt: int
    prompt: str
    text: str
    subject: str = ""
    score: float | None = None
    parsed: bool = True


class Story(Record):
    """One trajectory to read."""

    kind: StoryKind
    task_id: str
    repo: str
    step: str
    statement: str
    outcome: Outcome
    reason: str
    turns: tuple[StoryTurn, ...]
    patch: str
    failed_ids: tuple[str, ...] = ()
    seconds: float = 0.0


class RunSummary(Record):
    """A run in numbers; `report.json` is this record as JSON. Paths in it are relative to the workspace."""

    name: str
    seed: int
    forge: str
    finished: str
    """ISO 8601 with offset."""
    hardware: str
    base: BaseNote
    other_bases: tuple[BaseNote, ...] = ()
    sandbox: str
    sandbox_why: str = ""
    heldout: Evaluated
    transfer: Evaluated | None = None
    reference: str = "cold-start"
    """The step that the last promoted one is compared with."""
    paired: Paired | None = None
    paired_p: float | None = None
    """Two-sided exact McNemar p of `paired`."""
    wall_s: float
    """Seconds of this workspace's phases, earlier runs that it went on from counted in."""
    phase_s: dict[str, float]
    outcomes: dict[str, int]
    outcomes_by_step: dict[str, dict[str, int]] = {}
    prompt_tokens: int = 0
    completion_tokens: int = 0
    tasks: dict[str, int] = {}
    examples: dict[str, int] = {}
    """Cold-start rows by stage."""
    dropped: dict[str, dict[str, int]] = {}
    """What was left out, by phase and reason."""
    stage_scores: dict[str, dict[str, float]] = {}
    """Scores of the held-out steps, by step."""
    rounds: tuple[RoundReport, ...]
    lineage: tuple[AdapterRef, ...] = ()
    """The promoted adapter of each stage."""
    stories: tuple[Story, ...] = ()
    decisions: tuple[Decision, ...] = ()
    """Everything that was decided, in order, with the evidence."""
    outlook: str = ""
    """What a further round would do, or why there is none."""
    spent: Spent = Spent()
    budget: dict[str, float] = {}
    """Limits of the run in all, as the configuration names them."""
    costs: tuple[StepCost, ...] = ()
    """What the rollouts of each step came to."""
    best_of: BestOfN | None = None
    """Several answers to each held-out task by the promoted adapters, one chosen by review."""
    levers: Levers | None = None
    """Weights and the agent's settings, each alone and together, where both changed."""


def promoted_steps(steps: Sequence[StepReport]) -> list[StepReport]:
    """Steps of the loop itself whose adapters were promoted: the baseline, which has none, is not one."""
    return [step for step in steps if step.promoted and step.round >= 1]


def gain(results: Mapping[str, Mapping[str, bool]], steps: Sequence[StepReport], *, seed: int) -> Paired | None:
    """The last promoted step against the first one, on the same tasks; `None` before there are two.

    `results` holds solved or not by task for each step's name.
    """
    promoted = promoted_steps(steps)
    if len(promoted) < 2:
        return None
    return compare(results[promoted[0].name], results[promoted[-1].name], seed=seed)


def evaluated(steps: Sequence[StepReport], trajectories: Mapping[str, Sequence[Trajectory]]) -> Evaluated:
    """The same steps on another set of tasks, whose greedy trajectories are given by step name."""
    found = []
    for step in steps:
        solved = solved_by_task(trajectories.get(step.name, ()))
        if solved:
            wins = sum(solved.values())
            share, interval = wins / len(solved), wilson(wins, len(solved))
            changed = {"pass_at_1": share, "ci95": interval, "solved": wins, "tasks": len(solved), "paired_p": None}
            found.append(step.model_copy(update={**changed, "outcomes": {}, "stage_scores": {}}))
    return Evaluated(tasks=max((step.tasks for step in found), default=0), steps=tuple(found))


def choose_stories(trajectories: Iterable[Trajectory], tasks: Mapping[str, Task]) -> tuple[Story, ...]:
    """A success, a failure, and one that the review turned round, as far as there are any; short ones first."""
    usable = sorted(
        (item for item in trajectories if item.patch and item.task_id in tasks), key=lambda t: (len(t.turns), len(t.patch), t.id)
    )
    found: list[Story] = []
    for kind, fits in KINDS.items():
        first = next((item for item in usable if fits(item)), None)
        if first is not None:
            found.append(story(kind, first, tasks[first.task_id]))
    return tuple(found)


def story(kind: StoryKind, trajectory: Trajectory, task: Task) -> Story:
    """A trajectory without its token ids."""
    turns = tuple(
        StoryTurn(
            stage=turn.stage,
            model_id=turn.model_id,
            attempt=turn.attempt,
            prompt=turn.messages[-1].content if turn.messages else "",
            text=turn.text,
            subject=turn.subject,
            score=turn.score,
            parsed=turn.parsed,
        )
        for turn in trajectory.turns
    )
    return Story(
        kind=kind,
        task_id=task.id,
        repo=task.repo,
        step=trajectory.step,
        statement=task.statement,
        outcome=trajectory.outcome,
        reason=trajectory.reason or (trajectory.verdict.reason if trajectory.verdict else ""),
        turns=turns,
        patch=trajectory.patch,
        failed_ids=trajectory.verdict.failed_ids if trajectory.verdict else (),
        seconds=trajectory.seconds,
    )


def _is_success(item: Trajectory) -> bool:
    return item.outcome is Outcome.SOLVED and item.repairs == 0


def _is_failure(item: Trajectory) -> bool:
    return item.outcome is Outcome.FAILED


def _is_turned_round(item: Trajectory) -> bool:
    """Review rejected the first attempt, liked a later one better, and that one solves the task."""
    scores = [turn.score for turn in item.turns if turn.stage == "review" and turn.score is not None]
    return item.outcome is Outcome.SOLVED and item.repairs > 0 and len(scores) > 1 and scores[0] < 0.5 and max(scores[1:]) > scores[0]


KINDS: Mapping[StoryKind, Callable[[Trajectory], bool]] = {"success": _is_success, "turned round": _is_turned_round, "failure": _is_failure}
