"""Whether the agent has solved enough by itself to learn from itself, and which of its stages have.

Below about a hundred different solves, small models trained on their own answers got worse, not better (STaR, arXiv 2203.14465, on
models whose few-shot accuracy is near chance; reports of loops on 7B and 14B bases name the same number).

The same number holds for each stage: the training tasks that were solved on the stage's own answer, whoever answered for the others.
It is counted in the very rows that the stage would learn from, so it needs no rollout of its own and no bar beside the one that is
configured. The scores of stages on held-out tasks are not asked: they would let gold of held-out tasks steer what is trained on, and
which score is good enough differs from base to base.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from forge.endpoint.acting import PREFIX
from forge.records import STAGES, Decision, Outcome, Task, Trajectory
from forge.rounds.past import Past
from forge.stages import REGISTRY


def self_training(past: Past, minimum: int, own: Mapping[str, int]) -> Decision:
    """`allowed`, `refused`, or allowed for all but some stages, by the numbers of different training tasks that the agent solved by
    itself and that each stage had a part in solving (`own`, see `own_answers`; without any the agent as a whole is judged)."""
    solves, short = past.own_solves(), held_back(own, minimum)
    figures = {"own_solves": float(solves), "minimum": float(minimum)} | {stage: float(count) for stage, count in own.items()}
    shared = {"round": past.next_round, "name": "bootstrap", "figures": figures}
    if len(short) < len(own) or (not own and solves and solves >= minimum):
        enough = f"{solves} different training tasks solved by itself, {minimum} are asked for"
        if not short:
            return Decision(choice="allowed", why=enough, **shared)
        why = f"{enough}; {_told(own, short)}: {_what_they_do(short)}"
        return Decision(choice=f"allowed but for {', '.join(short)}", why=why, **shared)
    if not solves:
        why = "no training task was solved, so there is nothing to learn from"
    else:
        why = f"only {solves} different training tasks were solved by itself, and learning from oneself wants {minimum}"
    cure = "a teacher (teacher.model), a stronger base, easier or more tasks"
    lower = f", or rounds.bootstrap_solves={solves} at your own risk" if solves else ""
    return Decision(choice="refused", why=f"{why}; take {cure}{lower}", **shared)


def beside_teacher(number: int, minimum: int, own: Mapping[str, int]) -> Decision:
    """What stages learn from in a round in which the teacher acts: `own` and the teacher's answers, or the teacher's alone."""
    short = held_back(own, minimum)
    figures = {"minimum": float(minimum)} | {stage: float(count) for stage, count in own.items()}
    choice = f"the teacher's answers alone for {', '.join(short)}" if short else "own answers too"
    why = _told(own, short) if short else f"every stage's own answers solved {minimum} different training tasks or more"
    return Decision(round=number, name="stages", choice=choice, why=why, figures=figures)


def own_answers(trajectories: Iterable[Trajectory], tasks: Mapping[str, Task]) -> dict[str, int]:
    """Different training tasks, by stage, whose success teaches the stage an answer of its own; of stages that acted anywhere.

    A task that no test proves counts for nothing, nor does an answer of the teacher.
    """
    found: dict[str, set[str]] = {}
    for trajectory in trajectories:
        own = {turn.stage for turn in trajectory.turns} - taught_stages(trajectory)
        for stage in own:
            found.setdefault(stage, set())
        task = tasks[trajectory.task_id]
        if trajectory.outcome is Outcome.SOLVED and not task.soft:
            for stage in own:
                if task.id not in found[stage] and any(REGISTRY[stage].from_trajectory(trajectory, task)):
                    found[stage].add(task.id)
    return {stage: len(found[stage]) for stage in STAGES if stage in found}


def taught_stages(trajectory: Trajectory) -> set[str]:
    """The stages for which a teacher acted."""
    return {turn.stage for turn in trajectory.turns if turn.model_id.startswith(PREFIX)}


def by_teacher(trajectories: Iterable[Trajectory]) -> dict[str, list[Trajectory]]:
    """By stage, the rollouts in which a teacher acted for it."""
    found: dict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in trajectories:
        for stage in taught_stages(trajectory):
            found[stage].append(trajectory)
    return found


def held_back(own: Mapping[str, int], minimum: int) -> tuple[str, ...]:
    """Stages that may not learn from their own answers yet, in the order in which they act."""
    return tuple(stage for stage in STAGES if stage in own and own[stage] < max(1, minimum))


def _told(own: Mapping[str, int], short: tuple[str, ...]) -> str:
    return "on their own answers only " + ", ".join(f"{own[stage]} ({stage})" for stage in short)


def _what_they_do(short: tuple[str, ...]) -> str:
    if len(short) > 1:
        return "they learn from a teacher's answers or keep their adapters"
    return "it learns from a teacher's answers or keeps its adapter"
