"""The report's drawings of steps, stages, outcomes and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from forge.evals.pages.svg import WIDTH, Box, line, percent, shares, svg, text
from forge.records import StepReport

LABELLED = 7
"""Steps that have room for their names side by side."""
BESIDE = 5
"""Steps whose names fit on one line."""
OUTCOMES = ("solved", "failed", "agent_error", "infra_error")
LABELS = {
    "analysis_recall": "Analysis: touched symbols named",
    "analysis_file_recall": "Analysis: touched files named",
    "relevance_accuracy": "Relevance: right yes or no",
    "relevance_ap": "Relevance: average precision",
    "planning_agreement": "Planning: edits the right symbols",
    "generation_apply_rate": "Generation: edits that apply",
    "review_auc": "Review: tells right from wrong (AUC)",
}


def pass_at_1(heldout: Sequence[StepReport], transfer: Sequence[StepReport]) -> str:
    """Pass@1 after each step with 95 % intervals: held-out tasks joined by a line, transfer beside them."""
    box = Box(40, 16, WIDTH - 12, 250)
    names = [step.name for step in heldout]
    parts = shares(box)
    places = {name: box.x((index + 0.5) / max(1, len(names))) for index, name in enumerate(names)}
    shift = 9 if transfer else 0
    solid = [(places[step.name] - shift, box.y(step.pass_at_1)) for step in heldout if step.promoted]
    if len(solid) > 1:
        parts.append(f'<polyline class="trend" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in solid)}"/>')
    for step in transfer:
        if step.name in places:
            parts += _whisker(places[step.name] + shift, step, box, "transfer")
    every = 1 + (len(names) - 1) // LABELLED  # labels of more steps would lie on each other
    for index, step in enumerate(heldout):
        parts += _whisker(places[step.name] - shift, step, box, "heldout" if step.promoted else "heldout refused")
        if (len(names) - 1 - index) % every:
            continue
        lower = 16 * (len(names) > BESIDE and index % 2)  # names next to each other would touch
        parts.append(text(places[step.name] - shift - 9, box.y(step.pass_at_1) + 4, percent(step.pass_at_1), "value end"))
        parts.append(text(places[step.name], box.bottom + 22 + lower, step.name, "name middle"))
        if not step.promoted and len(names) <= 4:  # more of them would lie on each other
            parts.append(text(places[step.name], box.bottom + 38, "not promoted", "axis middle"))
    described = ", ".join(
        f"{step.name} {percent(step.pass_at_1)} ({percent(step.ci95.low)} to {percent(step.ci95.high)})" for step in heldout
    )
    return svg(300, f"Held-out pass@1: {described}", parts)


def stage_scores(scores: Mapping[str, Mapping[str, float]]) -> str:
    """One row for each score, one dot for each step: the later the step, the stronger the dot."""
    steps = list(scores)
    names = [name for name in LABELS if any(name in scores[step] for step in steps)]
    box = Box(8, 8, WIDTH - 52, 0)
    parts: list[str] = []
    for row, name in enumerate(names):
        y = 34 + row * 46
        parts.append(text(box.left, y - 12, LABELS[name], "name"))
        parts.append(line(box.left, y, box.right, y, "track"))
        values = [(index, scores[step][name]) for index, step in enumerate(steps) if name in scores[step]]
        low, high = min(value for _, value in values), max(value for _, value in values)
        parts.append(line(box.x(low), y, box.x(high), y, "span"))
        for index, value in values:
            strength = 0.25 + 0.75 * (index + 1) / len(steps)
            last = index == values[-1][0]
            parts.append(
                f'<circle class="dot" cx="{box.x(value):.1f}" cy="{y}" r="{6 if last else 4.5}" style="opacity:{strength:.2f}">'
                f"<title>{escape(steps[index])}: {value:.2f}</title></circle>"
            )
        parts.append(text(WIDTH - 4, y + 5, f"{values[-1][1]:.2f}", "value end"))
    described = "; ".join(f"{LABELS[name]}: {[round(scores[step][name], 2) for step in steps if name in scores[step]]}" for name in names)
    return svg(24 + 46 * len(names), f"Scores of each stage by step. {described}", parts)


def outcomes(by_step: Mapping[str, Mapping[str, int]]) -> str:
    """One stacked bar for each step, split by how its rollouts ended."""
    box = Box(0, 0, WIDTH - 60, 0)
    parts: list[str] = []
    for row, (step, counts) in enumerate(by_step.items()):
        y = 22 + row * 46
        total = sum(counts.values())
        parts.append(text(0, y - 6, step, "name"))
        parts.append(text(WIDTH, y + 13, f"{total:,}", "value end"))
        left = box.left
        for outcome in OUTCOMES:
            count = counts.get(outcome, 0)
            if not count or not total:
                continue
            width = count / total * (box.right - box.left)
            parts.append(
                f'<rect class="{outcome}" x="{left:.1f}" y="{y}" width="{max(width - 1.5, 1):.1f}" height="18" rx="2">'
                f"<title>{escape(step)}: {count:,} {outcome}</title></rect>"
            )
            if width > 34:
                parts.append(text(left + 7, y + 13, f"{count:,}", "inside"))
            left += width
    described = "; ".join(f"{step}: {dict(counts)}" for step, counts in by_step.items())
    return svg(10 + 46 * len(by_step), f"Rollouts by outcome. {described}", parts)


def durations(seconds: Mapping[str, float], shown: Mapping[str, str]) -> str:
    """One bar for each phase, in the order of the run; `shown` is each phase's time in words."""
    longest = max(seconds.values(), default=0.0) or 1.0
    parts: list[str] = []
    for row, (name, value) in enumerate(seconds.items()):
        y = 6 + row * 26
        width = max(1.5, value / longest * (WIDTH - 240))
        parts.append(text(148, y + 13, name, "name end"))
        parts.append(f'<rect class="phase" x="158" y="{y}" width="{width:.1f}" height="18" rx="2"/>')
        parts.append(text(158 + width + 8, y + 13, shown[name], "value"))
    described = ", ".join(f"{name} {shown[name]}" for name in seconds)
    return svg(12 + 26 * len(seconds), f"Time by phase: {described}", parts)


def _whisker(x: float, step: StepReport, box: Box, kind: str) -> list[str]:
    low, high, y = box.y(step.ci95.low), box.y(step.ci95.high), box.y(step.pass_at_1)
    interval = f"{percent(step.ci95.low, 1)} to {percent(step.ci95.high, 1)}"
    title = f"{step.name}: {step.solved} of {step.tasks}, {percent(step.pass_at_1, 1)} ({interval})"
    return [
        f'<g class="{kind}"><title>{escape(title)}</title>',
        line(x, low, x, high, "bar"),
        line(x - 4, low, x + 4, low, "bar"),
        line(x - 4, high, x + 4, high, "bar"),
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"/></g>',
    ]
