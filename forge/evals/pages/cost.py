"""What the run cost, as HTML: the whole, against its budgets, and for each solved task."""

from __future__ import annotations

from html import escape

from forge.evals.cost import StepCost
from forge.evals.pages import plots
from forge.evals.pages.parts import card, cell, duration, key, table
from forge.evals.summary import RunSummary

OUTCOME_WORDS = {"solved": "solved", "failed": "failed", "agent_error": "agent error", "infra_error": "infrastructure error, masked"}


def cost(summary: RunSummary) -> str:
    """The section."""
    keys = key([(f"--{name.split('_')[0]}", words) for name, words in OUTCOME_WORDS.items()])
    by_step = summary.outcomes_by_step or {"all": summary.outcomes}
    retries = summary.dropped.get("infrastructure", {}).get("retries", 0)
    note = f"Infrastructure errors are retried ({retries:,} times), then masked: they count for nobody."
    left = card("How rollouts ended", note, plots.outcomes(by_step) + keys)
    shown = {name: duration(value) for name, value in summary.phase_s.items()}
    right = card("Where the time went", f"{duration(summary.wall_s)} in all.", plots.durations(summary.phase_s, shown))
    head = f"<h2>What it cost</h2>\n<p>{escape(_whole(summary))}</p>"
    return f'<section>\n{head}\n<div class="pair">{left}{right}</div>\n{_solves(summary)}</section>'


def _whole(summary: RunSummary) -> str:
    """Time, tokens, GPU hours and money, each beside its budget where there is one."""
    spent, budget = summary.spent, summary.budget
    tokens = spent.tokens or summary.prompt_tokens + summary.completion_tokens
    gpu = f"{spent.gpu_hours:.2f} GPU hours" if spent.gpu_hours or "gpu_hours" in budget else "no GPU"
    money = f"{spent.money:.2f} in money" if spent.money or "money" in budget else ""
    told = {
        "wall_s": (duration(summary.wall_s), duration),
        "tokens": (f"{tokens / 1e6:.1f} M tokens of prompts and answers", lambda limit: f"{limit / 1e6:g} M"),
        "gpu_hours": (gpu, lambda limit: f"{limit:g}"),
        "money": (money, lambda limit: f"{limit:g}"),
    }
    parts = [words + (f" (budget {as_words(budget[name])})" if name in budget else "") for name, (words, as_words) in told.items() if words]
    return ", ".join(parts) + ("." if budget else "; no budget was set.")


def _solves(summary: RunSummary) -> str:
    if not summary.costs:
        return ""
    rows = [
        [
            cell(item.step),
            cell(f"{item.rollouts:,}", "n"),
            cell(f"{item.solved:,}", "n"),
            cell(_share(item, item.tokens), "n"),
            *(cell(_seconds(item, total), "n") for total in (item.seconds, item.model_s, item.box_s)),
        ]
        for item in summary.costs
    ]
    head = ["For each solved task", "Rollouts", "Solved", "Tokens", "Rollout time", "Model calls", "Open boxes"]
    note = (
        "All that a step spent, failures counted in, over the tasks it solved. Rollouts, and some model calls within one, run beside "
        "each other: their seconds add up to more than the wall time. Boxes are open while attempts are tried and while one is graded."
    )
    return f'<h3 class="between">The price of a solved task</h3>\n{table(head, rows)}\n<p class="note after">{note}</p>'


def _share(item: StepCost, total: float) -> str:
    share = item.per_solve(total)
    return "nothing solved" if share is None else f"{share:,.0f}"


def _seconds(item: StepCost, total: float) -> str:
    share = item.per_solve(total)
    return "" if share is None else duration(share)
