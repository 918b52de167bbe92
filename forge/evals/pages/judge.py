"""What choosing among several answers by review is worth, as HTML."""

from __future__ import annotations

from html import escape

from forge.evals.best_of_n import BestOfN
from forge.evals.pages import plots_judge
from forge.evals.pages.parts import card, key
from forge.evals.pages.svg import percent


def judge(found: BestOfN | None) -> str:
    """The section; empty when no task was answered several times."""
    if found is None:
        return ""
    keys = key([("--accent", "best@k: the one that review scores highest"), ("--other", "pass@k: at least one is right")])
    left = card(
        "From pass@1 over best@n to pass@n",
        f"{found.n} sampled answers to each of {found.tasks} held-out tasks. Bars are 95 % intervals over tasks.",
        plots_judge.curve(found) + keys,
    )
    right = card(
        "Can review's scores be believed?",
        "A dot a tenth of the score, with its number of answers. On the line, a score of 70 % is right 70 times in 100.",
        plots_judge.reliability(found.bins) + f'<p class="note">{escape(_figures(found))}</p>',
    )
    return (
        "<section>\n<h2>What choosing by review is worth</h2>\n"
        f'<p>{escape(_told(found))}</p>\n<div class="pair">{left}{right}</div>\n</section>'
    )


def _told(found: BestOfN) -> str:
    first, best, some, ci = found.best[0], found.best[-1], found.any[-1], found.best_ci95[-1]
    words = (
        f"One sampled answer solves {percent(first)} of the tasks; the one of {found.n} that review scores highest {percent(best)} "
        f"({percent(ci.low)} to {percent(ci.high)}); at least one of {found.n} is right for {percent(some)}."
    )
    if some - first < 1e-9:
        return f"{words} There is nothing to choose."
    if best <= first:
        return f"{words} Review's choice is worth nothing."
    if ci.low <= first:
        return f"{words} The gain may be chance."
    return f"{words} Review finds {percent((best - first) / (some - first))} of what there is to find."


def _figures(found: BestOfN) -> str:
    auc = "no AUC: all answers are right or all are wrong" if found.auc is None else f"AUC {found.auc:.2f} (0.5 is a coin, 1 is perfect)"
    answers = sum(item.answers for item in found.bins)
    return f"{answers:,} answers. Mean error of the scores (ECE) {found.calibration_error:.2f}, Brier {found.brier:.2f}, {auc}."
