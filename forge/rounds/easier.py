"""Easier training tasks, asked of the injector when the ones there are teach nothing: one bug, easily seen, of the kinds that are
solved most, near the tasks that were never solved (LADDER, arXiv 2503.00735, learns a hard problem by way of easier variants of it).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from forge.config import RoundsConfig
from forge.records import EASIER, Easier, RoundPlan, Task
from forge.rounds.past import Past

KINDS = 6
"""Operators that a batch takes: enough to differ, few enough to leave the hard ones out."""
FRUITFUL = 0.1
"""Share of easier tasks that has to be solved for more of them to be asked for."""
TOO_HARD = 0.5
"""Share of the tasks that were never solved from which on they are too hard to learn from."""


def variants(past: Past, tasks: Iterable[Task], rounds: RoundsConfig) -> Easier | None:
    """The next batch that could be asked for; `None` where none is wanted, or the last one was too hard as well."""
    if not rounds.easier_tasks or not _fruitful(past):
        return None
    by_id = {task.id: task for task in tasks if task.side == "train"}
    won: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    for tallies in past.tallies.values():
        for name, counted in tallies.items():
            operator = by_id[name].operator if name in by_id else ""
            if operator and "+" not in operator:
                won[operator] += counted.solved
                tried[operator] += counted.graded
    # One success of one try is not surer than nine of ten (Laplace).
    ranked = sorted(tried, key=lambda operator: (-(won[operator] + 1) / (tried[operator] + 2), operator))
    unsolved = Counter((by_id[name].repo, edit.path) for name in never_solved(past) if name in by_id for edit in by_id[name].gold)
    near = [f"{repo}:{path}" for (repo, path), _ in sorted(unsolved.items(), key=lambda item: (-item[1], item[0]))]
    return Easier(
        round=past.next_round, count=rounds.easier_tasks, operators=tuple(ranked[:KINDS]), near=tuple(near), failing=rounds.easier_failing
    )


def in_words(batch: Easier) -> str:
    """What a batch is, in a clause."""
    kinds = f" of the kinds solved most ({', '.join(batch.operators[:3])}, …)" if batch.operators else ""
    near = f", first in the {len(batch.near)} modules of tasks never solved" if batch.near else ""
    return f"{batch.count} easier ones{kinds}{near}"


def never_solved(past: Past) -> list[str]:
    """Tasks that were sampled and not solved in any round."""
    solved: dict[str, bool] = {}
    for tallies in past.tallies.values():
        for name, counted in tallies.items():
            solved[name] = solved.get(name, False) or counted.solved > 0
    return sorted(name for name, was in solved.items() if not was)


def too_hard(past: Past) -> bool:
    """Whether half of the tasks that were ever sampled, or more, were never solved: a round's own would not tell, as what is solved
    surely is not sampled again."""
    sampled = {name for tallies in past.tallies.values() for name in tallies}
    return bool(sampled) and len(never_solved(past)) >= TOO_HARD * len(sampled)


def batches(plans: Iterable[RoundPlan]) -> list[Easier]:
    """Those that were asked for so far, in order."""
    return [plan.easier for plan in plans if plan.easier is not None]


def _fruitful(past: Past) -> bool:
    """Whether enough of the easier tasks that were sampled since the last batch are solved, or none was asked for yet."""
    asked: Sequence[Easier] = batches(past.plans)
    since = [found for number, found in past.tallies.items() if asked and number >= asked[-1].round]
    eased = [(name, counted.solved) for found in since for name, counted in found.items() if name.startswith(EASIER)]
    solved = {name for name, wins in eased if wins}
    return not asked or len(solved) >= max(1.0, FRUITFUL * len({name for name, _ in eased}))
