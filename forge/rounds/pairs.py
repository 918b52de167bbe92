"""Solved against failed answers to the very same prompt: what a DPO round learns from.

Only stages that write are paired; what a judgement should have been is a label, which supervised rows teach as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from forge.records import Outcome, Preference, Task, Trajectory, Turn
from forge.stages import REGISTRY
from forge.stages.stage import example_from_turn, final_turns

LONGEST_RATIO = 1.5
"""One answer of a pair may be this many times as long as the other: else DPO learns lengths (arXiv 2403.19159)."""

Prompt = tuple[str, str, tuple[int, ...]]
"""Task, stage and the token ids of a prompt."""


def preferences(trajectories: Iterable[Trajectory], tasks: Mapping[str, Task], *, keep_per_task: int) -> dict[str, list[Preference]]:
    """Pairs by stage: a turn of a solved trajectory against one of a failed trajectory of the same task, under one prompt.

    At most `keep_per_task` a task and stage, those most alike in length first, no answer on the same side twice. Longer and shorter
    chosen answers are kept in equal numbers, as far as there are both.
    """
    good: dict[Prompt, list[tuple[Turn, Trajectory]]] = defaultdict(list)
    bad: dict[Prompt, list[tuple[Turn, Trajectory]]] = defaultdict(list)
    for trajectory in sorted(trajectories, key=lambda t: t.id):
        solved = trajectory.outcome is Outcome.SOLVED
        if solved or trajectory.outcome in (Outcome.FAILED, Outcome.AGENT_ERROR):
            for turn in _deciding(trajectory, solved=solved):
                (good if solved else bad)[trajectory.task_id, turn.stage, turn.prompt_ids].append((turn, trajectory))
    found: dict[tuple[str, str], list[Preference]] = defaultdict(list)
    for prompt in sorted(good.keys() & bad.keys()):
        task, stage, _ = prompt
        found[task, stage] += _pairs(good[prompt], bad[prompt], tasks[task])
    rows: dict[str, list[Preference]] = {}
    for (_, stage), pairs in sorted(found.items()):
        rows.setdefault(stage, []).extend(_distinct(pairs, keep_per_task))
    return {stage: balanced for stage, pairs in rows.items() if (balanced := _balanced(pairs))}


def _deciding(trajectory: Trajectory, *, solved: bool) -> list[Turn]:
    """The written turns that may be to thank or to blame: of a success those that led to what was handed in, of a failure all."""
    if solved:
        return [turn for name, stage in REGISTRY.items() if not stage.judgement for turn in final_turns(trajectory, name)]
    return [turn for turn in trajectory.turns if not REGISTRY[turn.stage].judgement]


def _pairs(good: list[tuple[Turn, Trajectory]], bad: list[tuple[Turn, Trajectory]], task: Task) -> list[Preference]:
    right = {turn.completion_ids for turn, _ in good}
    pairs = []
    for turn, trajectory in good:
        for other, _ in bad:
            short, long = sorted((len(turn.completion_ids), len(other.completion_ids)))
            if other.completion_ids not in right and short and long <= LONGEST_RATIO * short + 2:
                pairs.append(_preference(turn, other, trajectory, task))
    return sorted(pairs, key=lambda p: (abs(len(p.chosen_ids) - len(p.rejected_ids)), p.chosen_ids, p.rejected_ids))


def _preference(turn: Turn, other: Turn, trajectory: Trajectory, task: Task) -> Preference:
    row = example_from_turn(turn, trajectory, task)
    return Preference(
        stage=turn.stage,
        messages=row.messages,
        chosen=row.completion,
        rejected=other.text,
        prompt_ids=row.prompt_ids,
        chosen_ids=row.completion_ids,
        rejected_ids=other.completion_ids,
        lineage=row.lineage,
    )


def _distinct(pairs: list[Preference], limit: int) -> list[Preference]:
    """The first pairs, each with an answer on both sides that none before it has under the same prompt."""
    kept: list[Preference] = []
    for pair in pairs:
        same = [other for other in kept if other.prompt_ids == pair.prompt_ids]
        if not any(pair.chosen_ids == other.chosen_ids or pair.rejected_ids == other.rejected_ids for other in same):
            kept.append(pair)
    return kept[:limit]


def _balanced(pairs: list[Preference]) -> list[Preference]:
    """As many pairs whose chosen answer is the longer one as the other way round, equal lengths beside; none is dropped on a side alone."""
    longer = [pair for pair in pairs if len(pair.chosen_ids) > len(pair.rejected_ids)]
    shorter = [pair for pair in pairs if len(pair.chosen_ids) < len(pair.rejected_ids)]
    most = min(len(longer), len(shorter)) or max(len(longer), len(shorter))
    keep = {id(pair) for side in (longer, shorter) for pair in sorted(side, key=_difference)[:most]}
    return [pair for pair in pairs if len(pair.chosen_ids) == len(pair.rejected_ids) or id(pair) in keep]


def _difference(pair: Preference) -> int:
    return abs(len(pair.chosen_ids) - len(pair.rejected_ids))
