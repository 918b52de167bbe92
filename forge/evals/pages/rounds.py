"""The rounds as a story, in HTML: what each was to do and why, what was decided on which evidence, and what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from forge.evals.pages.parts import duration, interval, sentence
from forge.evals.pages.svg import percent
from forge.evals.summary import RunSummary
from forge.records import Decision, RoundReport

CHIPS = {"promote": "success", "allowed": "success", "keep": "failure", "refused": "failure", "doubt": "failure"}
"""How a choice is coloured; others are grey."""

LONGEST_CHIP = 24
"""Characters; a longer choice, such as settings of the agent, stands in the sentence."""
OPEN = 5
"""Newest rounds that are told in full; earlier ones unfold."""


def rounds(summary: RunSummary) -> str:
    """The section; empty for reports of before decisions were kept."""
    made: dict[int, list[Decision]] = {}
    for decision in summary.decisions or [d for report in summary.rounds for d in report.decisions]:
        made.setdefault(decision.round, []).append(decision)
    told = [report for report in summary.rounds if report.plan is not None or made.get(report.round)]
    if not told:
        return ""
    items = [_round(report, made.get(report.round, [])) for report in told]
    early = len(items) - OPEN if len(items) > OPEN + 1 else 0
    first = ""
    if early:
        head = f"Rounds {told[0].round} to {told[early - 1].round}"
        first = f'<details><summary>{head}</summary><div class="inner">{_list(items[:early])}</div></details>\n'
    after = f'<p class="next"><strong>What next.</strong> {escape(sentence(summary.outlook))}</p>' if summary.outlook else ""
    return (
        "<section>\n<h2>What was tried, and why</h2>\n<p>Each decision was recorded with its evidence before it was acted on.</p>\n"
        f"{first}{_list(items[early:])}\n{after}</section>"
    )


def _list(items: Sequence[str]) -> str:
    return f'<ol class="turns rounds">{"".join(items)}</ol>'


def _round(report: RoundReport, decisions: Sequence[Decision]) -> str:
    costs = [duration(report.seconds) if report.seconds else "", f"{report.tokens / 1e6:.2f} M tokens" if report.tokens else ""]
    note = ", ".join(part for part in costs if part)
    why = next((decision.why for decision in decisions if decision.name == "plan"), "")
    planned = f"<p>{escape(_planned(report, why))}</p>" if report.plan is not None else ""
    rows = "".join(_decision(decision) for decision in decisions if decision.name != "plan" or report.plan is None)
    listed = f'<dl class="decisions">{rows}</dl>' if rows else f"<p>{escape(sentence(report.decision))}</p>"
    kind = "" if report.step is not None and report.step.promoted else ' class="unusable"'
    return (
        f'<li{kind}><h3>Round {report.round}, {escape(report.name)} <span class="note">{escape(note)}</span></h3>{planned}{listed}'
        f'<p class="verdict">{escape(_came_of_it(report))}</p></li>'
    )


def _planned(report: RoundReport, why: str) -> str:
    assert report.plan is not None
    return sentence(report.plan.doing + (f". Why: {why}" if why else ""))


def _decision(decision: Decision) -> str:
    figures = " · ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in decision.figures.items())
    beneath = f'<small class="note">{escape(figures)}</small>' if figures else ""
    if len(decision.choice) > LONGEST_CHIP:
        return f"<div><dt>{escape(decision.name)}</dt><dd>{escape(sentence(f'{decision.why}: {decision.choice}'))}{beneath}</dd></div>"
    chip = f'<span class="chip {CHIPS.get(decision.choice, "")}">{escape(decision.choice)}</span>'
    return f"<div><dt>{escape(decision.name)} {chip}</dt><dd>{escape(sentence(decision.why))}{beneath}</dd></div>"


def _came_of_it(report: RoundReport) -> str:
    """Rollouts, rows and the evaluation, as far as the round came."""
    parts = []
    if report.collected:
        parts.append(f"{sum(report.collected.values()):,} rollouts, {report.collected.get('solved', 0):,} solved")
    if report.examples:
        parts.append(f"{sum(report.examples.values()):,} training rows")
    step = report.step
    if step is None:
        return ", ".join([*parts, "nothing was trained"]).capitalize() + "."
    kept = "promoted" if step.promoted else "the adapters from before stay"
    parts.append(f"{step.solved} of {step.tasks} held-out tasks = {percent(step.pass_at_1)} ({interval(step)}): {kept}")
    return ", then ".join(parts) + "."
