"""Where the gain came from, as HTML: weights and the agent's settings, each alone and both together."""

from __future__ import annotations

from html import escape

from forge.evals.levers import Arm, Levers
from forge.evals.pages import svg
from forge.evals.pages.parts import cell, table
from forge.evals.summary import RunSummary


def levers(summary: RunSummary) -> str:
    """The section; empty where not both have changed."""
    found = summary.levers
    if found is None:
        return ""
    changed = ", ".join(f"{name}={_figure(value)}" for name, value in summary.rounds[-1].agent.items())
    told = f"Settings that were adopted: {changed}. " if changed else ""
    return (
        "<section>\n<h2>Where the gain came from</h2>\n"
        f"<p>{escape(found.verdict[0].upper() + found.verdict[1:])}.</p>\n{table(HEAD, rows(found))}\n"
        f'<p class="note" style="margin-top:10px">{escape(told)}The same held-out tasks, greedy. Together they bring '
        f"{abs(100 * found.together):.0f} points {'more' if found.together >= 0 else 'less'} than the sum of each alone.</p>\n</section>"
    )


def _figure(value: float | str) -> str:
    return (value or "its own words") if isinstance(value, str) else f"{value:g}"


HEAD = ("Weights", "Settings", "Held-out", "95 % interval", "Gained, lost", "p, paired")


def rows(found: Levers) -> list[list[str]]:
    """One row for each pairing."""
    arms = {
        ("cold start", "configured"): found.neither,
        ("promoted", "configured"): found.weights,
        ("cold start", "adopted"): found.settings,
        ("promoted", "adopted"): found.both,
    }
    return [[cell(weights), cell(settings), *_figures(arm)] for (weights, settings), arm in arms.items()]


def _figures(arm: Arm) -> list[str]:
    share = f"{arm.solved}/{arm.tasks} = {svg.percent(arm.solved / arm.tasks, 1)}"
    interval = f"{100 * arm.ci95.low:.0f} to {100 * arm.ci95.high:.0f} %"
    paired = arm.against_neither
    moved, p = ("", "") if paired is None else (f"{paired.gained}, {paired.lost}", f"{paired.p:.2g}")
    return [cell(text, "n") for text in (share, interval, moved, p)]
