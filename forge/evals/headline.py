"""What a run shows, in one sentence that claims no more than the tests allow."""

from __future__ import annotations

from collections.abc import Sequence

from forge.evals.best_of_n import BestOfN
from forge.evals.pages.svg import percent
from forge.evals.paired import Paired
from forge.evals.summary import RunSummary, promoted_steps
from forge.records import StepReport

SIGNIFICANT = 0.05


def headline(summary: RunSummary) -> str:
    """The sentence of a report, without its full stop; `*` marks what to emphasise."""
    return shown(summary.heldout.steps, summary.paired)


def chosen(best: BestOfN | None) -> str:
    """What choosing by review adds, in a sentence; empty where the interval of best@n reaches down to a single answer's share."""
    if best is None or best.best_ci95[-1].low <= best.best[0]:
        return ""
    return f"Choosing among {best.n} answers by review solves {percent(best.best[-1])} instead of the {percent(best.best[0])} of one."


def shown(steps: Sequence[StepReport], paired: Paired | None) -> str:
    """The same of the evaluated steps alone; `paired` compares the last promoted one with the first."""
    promoted = promoted_steps(steps)
    if not promoted:
        return "No adapters were promoted"
    last = promoted[-1]
    if paired is None:
        return f"After {last.name} it solves *{last.solved} of {last.tasks}* tasks that it had never seen"
    if paired.difference > 0:
        sure = "" if paired.p < SIGNIFICANT else ", which may be chance"
        points = f"{100 * paired.difference:.0f} points"
        return f"It now solves *{last.solved} of {last.tasks}* unseen tasks, {points} more than after its cold start{sure}"
    return f"It solves {last.solved} of {last.tasks} unseen tasks: no better than after its cold start"
