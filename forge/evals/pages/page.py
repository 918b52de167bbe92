"""The report as one HTML page without scripts or anything loaded from elsewhere: readable in a minute, then in depth."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from forge.evals.headline import chosen, headline
from forge.evals.pages import plots
from forge.evals.pages.cost import cost
from forge.evals.pages.judge import judge
from forge.evals.pages.levers import levers
from forge.evals.pages.parts import card, cell, duration, interval, key, p_value, sentence, table
from forge.evals.pages.rounds import rounds
from forge.evals.pages.svg import percent
from forge.evals.stories import stories
from forge.evals.summary import RunSummary, promoted_steps
from forge.observe import html
from forge.records import STAGES


def page(summary: RunSummary) -> str:
    """The whole page."""
    sections = [
        _head(summary),
        _measured(summary),
        rounds(summary),
        levers(summary),
        judge(summary.best_of),
        cost(summary),
        _taught(summary),
        _lineage(summary),
        stories(summary),
        _about(summary),
    ]
    body = "\n".join(section for section in sections if section)
    return html.page(f"{summary.name}: what got better", body)


def _head(summary: RunSummary) -> str:
    text = escape(headline(summary)).split("*")
    title = "".join(f"<em>{part}</em>" if index % 2 else part for index, part in enumerate(text))
    stand_in = f'<p class="lead">{escape(sentence(summary.base.about))}</p>' if summary.base.stand_in else ""
    best = f'<p class="lead">{escape(words)}</p>' if (words := chosen(summary.best_of)) else ""
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd></div>" for name, value, more in _facts(summary)
    )
    name = f"forge · {summary.name} · seed {summary.seed} · {summary.finished[:16].replace('T', ' ')}"
    return f'<header>\n<p class="name">{escape(name)}</p>\n<h1>{title}.</h1>\n{best}{stand_in}\n<dl class="facts">{facts}</dl>\n</header>'


def _facts(summary: RunSummary) -> list[tuple[str, str, str]]:
    promoted = promoted_steps(summary.heldout.steps)
    facts: list[tuple[str, str, str]] = []
    if promoted:
        last = promoted[-1]
        facts.append(("Held-out pass@1", percent(last.pass_at_1), f"{interval(last)}, {last.tasks} tasks"))
    if summary.paired is not None:
        paired = summary.paired
        low, high = 100 * paired.ci95.low, 100 * paired.ci95.high
        facts.append(("Gain over cold start", f"{100 * paired.difference:+.0f} points", f"95 %: {low:+.0f} to {high:+.0f}"))
        facts.append(("Paired test", p_value(paired.p), f"{paired.gained} tasks gained, {paired.lost} lost"))
    if summary.transfer is not None and promoted_steps(summary.transfer.steps):
        last = promoted_steps(summary.transfer.steps)[-1]
        facts.append(("Another repository", percent(last.pass_at_1), f"never trained on, {last.tasks} tasks"))
    facts.append(("Took", duration(summary.wall_s), summary.hardware))
    graded = sum(summary.outcomes.values())
    if (best := summary.best_of) is not None:
        low, high = 100 * best.best_ci95[-1].low, 100 * best.best_ci95[-1].high
        facts.append((f"Best of {best.n}", percent(best.best[-1]), f"chosen by review; 95 %: {low:.0f} to {high:.0f} %"))
    facts.append(("Rollouts", f"{graded:,}", f"{(summary.prompt_tokens + summary.completion_tokens) / 1e6:.1f} M tokens"))
    return facts


def _measured(summary: RunSummary) -> str:
    transfer = summary.transfer.steps if summary.transfer is not None else ()
    first = key(
        [
            ("--accent", "held-out tasks of the same repositories"),
            *([("--other", "tasks of a repository never trained on")] if transfer else []),
        ]
    )
    left = card(
        "Tasks solved after each step",
        "Greedy, one attempt a task, graded in a fresh box. Bars are 95 % intervals.",
        plots.pass_at_1(summary.heldout.steps, transfer) + first,
    )
    steps = " → ".join(summary.stage_scores)
    right = card(
        "Each stage on its own",
        f"Against the gold change, on held-out tasks: {steps}, faint to strong.",
        plots.stage_scores(summary.stage_scores),
    )
    scored = right if any(summary.stage_scores.values()) else ""
    pair = f'<div class="pair">{left}{scored}</div>'
    return f"<section>\n<h2>What got better</h2>\n{pair}\n{_steps_table(summary)}\n{_paired_note(summary)}</section>"


def _steps_table(summary: RunSummary) -> str:
    transfer = {step.name: step for step in summary.transfer.steps} if summary.transfer is not None else {}
    decisions = {report.step.name: report.decision for report in summary.rounds if report.step is not None}
    head = ["Step", "Held-out", "95 % interval", "p, paired", *(["Transfer"] if transfer else []), "Decision"]
    rows = []
    for step in summary.heldout.steps:
        other = transfer.get(step.name)
        row = [cell(step.name), cell(f"{step.solved}/{step.tasks} = {percent(step.pass_at_1, 1)}", "n"), cell(interval(step), "n")]
        row.append(cell("" if step.paired_p is None else f"{step.paired_p:.2g}", "n"))
        if transfer:
            row.append(cell(f"{other.solved}/{other.tasks} = {percent(other.pass_at_1, 1)}" if other else "", "n"))
        rows.append([*row, cell(decisions.get(step.name, ""), "words")])
    return table(head, rows)


def _paired_note(summary: RunSummary) -> str:
    paired = summary.paired
    if paired is None:
        return ""
    searched = any(report.agent for report in summary.rounds)
    differ = "the weights and the agent's settings differ" if searched else "only the weights differ"
    return (
        '<p class="note" style="margin-top:10px">p, paired: exact two-sided McNemar against the step promoted before it. '
        f"From cold start to the last promoted step, {paired.gained} tasks were gained and {paired.lost} lost of {paired.tasks} "
        f"(p = {paired.p:.2g}). Tasks and seeds are the same; {differ}.</p>"
    )


def _taught(summary: RunSummary) -> str:
    taught = [report for report in summary.rounds if report.examples]
    rows = [
        [
            cell(report.name),
            *(cell(f"{report.examples.get(stage, 0):,}", "n") for stage in STAGES),
            cell(f"{sum(report.examples.values()):,}", "n"),
        ]
        for report in taught
    ]
    rows_table = table(["Training rows", *(stage.capitalize() for stage in STAGES), "All"], rows)
    sides = ", ".join(f"{count:,} {side}" for side, count in summary.tasks.items())
    tasks = f"<p>Proven tasks: {escape(sides)}. Split by a hash of the files they touch before anything was trained.</p>" if sides else ""
    return f"<section>\n<h2>What it learnt from</h2>\n{tasks}{rows_table}{_dropped(summary.dropped)}</section>"


def _dropped(dropped: Mapping[str, Mapping[str, int]]) -> str:
    rows = [
        [cell(phase), cell(reason), cell(f"{count:,}", "n")]
        for phase, reasons in dropped.items()
        for reason, count in sorted(reasons.items(), key=lambda item: -item[1])
        if count
    ]
    if not rows:
        return ""
    total = sum(count for reasons in dropped.values() for count in reasons.values())
    inner = table(["Phase", "Left out because", "Number"], rows)
    head = f'What was left out, and why <span class="note">{total:,} in all</span>'
    return f'<details><summary>{head}</summary><div class="inner">{inner}</div></details>'


def _lineage(summary: RunSummary) -> str:
    if not summary.lineage:
        return ""
    rows = []
    for ref in summary.lineage:
        loss = ref.metrics.get("eval_loss")
        cells = [
            cell(ref.stage),
            f"<td><code>{escape(ref.model_id)}</code></td>",
            cell(str(ref.rank), "n"),
            cell(f"{ref.examples:,}", "n"),
        ]
        cells += [
            cell("no row held back" if loss is None else f"{loss:.3f}", "n"),
            *(f"<td><code>{escape(h[:12])}</code></td>" for h in (ref.base_sha256, ref.data_sha256)),
        ]
        rows.append(cells)
    listed = table(["Stage", "Promoted adapter", "Rank", "Rows", "Held-out loss", "Frozen base", "Data"], rows)
    return (
        "<section>\n<h2>What is promoted</h2>\n<p>Every adapter was trained from the frozen base itself, never from another adapter. "
        f"The manifests in <code>adapters/</code> carry all hashes in full.</p>\n{listed}</section>"
    )


def _about(summary: RunSummary) -> str:
    bases = "".join(
        f"<p><strong>{escape(base.model)}</strong>: {escape(base.about)} "
        f'<span class="note">SHA-256 <code>{escape(base.sha256)}</code></span></p>'
        for base in (summary.base, *summary.other_bases)
    )
    box = f"{summary.sandbox}{f' ({summary.sandbox_why})' if summary.sandbox_why else ''}"
    return (
        f"<section>\n<h2>What this ran on</h2>\n{bases}<p>Sandbox: {escape(box)}. Machine: {escape(summary.hardware)}. "
        f"forge {escape(summary.forge)}, seed {summary.seed}. All numbers are in <code>report.json</code>.</p>\n</section>"
    )
