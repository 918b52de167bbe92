"""The report as one HTML page without scripts or anything loaded from elsewhere: readable in a minute, then in depth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from forge.evals import plots
from forge.evals.paired import Paired
from forge.evals.stories import stories
from forge.evals.summary import RunSummary, promoted_steps
from forge.observe import html
from forge.records import STAGES, StepReport

OUTCOME_WORDS = {"solved": "solved", "failed": "failed", "agent_error": "agent error", "infra_error": "infrastructure error, masked"}
SIGNIFICANT = 0.05


def page(summary: RunSummary) -> str:
    """The whole page."""
    body = "\n".join(
        [_head(summary), _measured(summary), _cost(summary), _taught(summary), _lineage(summary), stories(summary), _about(summary)]
    )
    return html.page(f"{summary.name}: what got better", body)


def headline(summary: RunSummary) -> str:
    """What the run shows, in one sentence that claims no more than the paired test allows (plain text, `*` for emphasis)."""
    promoted = promoted_steps(summary.heldout.steps)
    if not promoted:
        return "No adapters were promoted"
    last, paired = promoted[-1], summary.paired
    if paired is None:
        return f"After {last.name} it solves *{last.solved} of {last.tasks}* tasks that it had never seen"
    if paired.difference > 0:
        sure = "" if paired.p < SIGNIFICANT else ", which may be chance"
        return (
            f"It now solves *{last.solved} of {last.tasks}* unseen tasks, {_points(paired.difference)} more than after its cold start{sure}"
        )
    return f"It solves {last.solved} of {last.tasks} unseen tasks: no better than after its cold start"


def duration(seconds: float) -> str:
    """`48 s`, `7 min 05 s` or `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if seconds >= 10 else f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def _head(summary: RunSummary) -> str:
    text = escape(headline(summary)).split("*")
    title = "".join(f"<em>{part}</em>" if index % 2 else part for index, part in enumerate(text))
    stand_in = f'<p class="lead">{escape(summary.base.about)}</p>' if summary.base.stand_in else ""
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd></div>" for name, value, more in _facts(summary)
    )
    name = f"forge · {summary.name} · seed {summary.seed} · {summary.finished[:16].replace('T', ' ')}"
    return f'<header>\n<p class="name">{escape(name)}</p>\n<h1>{title}.</h1>\n{stand_in}\n<dl class="facts">{facts}</dl>\n</header>'


def _facts(summary: RunSummary) -> list[tuple[str, str, str]]:
    promoted = promoted_steps(summary.heldout.steps)
    facts: list[tuple[str, str, str]] = []
    if promoted:
        last = promoted[-1]
        facts.append(("Held-out pass@1", plots.percent(last.pass_at_1), f"{_range(last)}, {last.tasks} tasks"))
    if summary.paired is not None:
        paired = summary.paired
        low, high = 100 * paired.ci95.low, 100 * paired.ci95.high
        facts.append(("Gain over cold start", f"{100 * paired.difference:+.0f} points", f"95 %: {low:+.0f} to {high:+.0f}"))
        facts.append(("Paired test", _p(paired.p), f"{paired.gained} tasks gained, {paired.lost} lost"))
    if summary.transfer is not None and promoted_steps(summary.transfer.steps):
        last = promoted_steps(summary.transfer.steps)[-1]
        facts.append(("Another repository", plots.percent(last.pass_at_1), f"never trained on, {last.tasks} tasks"))
    facts.append(("Took", duration(summary.wall_s), summary.hardware))
    graded = sum(summary.outcomes.values())
    facts.append(("Rollouts", f"{graded:,}", f"{(summary.prompt_tokens + summary.completion_tokens) / 1e6:.1f} M tokens"))
    return facts


def _measured(summary: RunSummary) -> str:
    transfer = summary.transfer.steps if summary.transfer is not None else ()
    first = _key(
        [
            ("--accent", "held-out tasks of the same repositories"),
            *([("--other", "tasks of a repository never trained on")] if transfer else []),
        ]
    )
    left = _card(
        "Tasks solved after each step",
        "Greedy, one attempt a task, graded in a fresh box. Bars are 95 % intervals.",
        plots.pass_at_1(summary.heldout.steps, transfer) + first,
    )
    steps = " → ".join(summary.stage_scores)
    right = _card(
        "Each stage on its own",
        f"Against the gold change, on held-out tasks: {steps}, faint to strong.",
        plots.stage_scores(summary.stage_scores),
    )
    scored = right if any(summary.stage_scores.values()) else ""
    pair = f'<div class="pair">{left}{scored}</div>'
    return f"<section>\n<h2>What got better</h2>\n{pair}\n{_steps_table(summary)}\n{_paired_note(summary.paired)}</section>"


def _steps_table(summary: RunSummary) -> str:
    transfer = {step.name: step for step in summary.transfer.steps} if summary.transfer is not None else {}
    decisions = {report.step.name: report.decision for report in summary.rounds if report.step is not None}
    head = ["Step", "Held-out", "95 % interval", "p, paired", *(["Transfer"] if transfer else []), "Decision"]
    rows = []
    for step in summary.heldout.steps:
        other = transfer.get(step.name)
        row = [_cell(step.name), _cell(f"{step.solved}/{step.tasks} = {plots.percent(step.pass_at_1, 1)}", "n"), _cell(_range(step), "n")]
        row.append(_cell("" if step.paired_p is None else f"{step.paired_p:.2g}", "n"))
        if transfer:
            row.append(_cell(f"{other.solved}/{other.tasks} = {plots.percent(other.pass_at_1, 1)}" if other else "", "n"))
        rows.append([*row, _cell(decisions.get(step.name, ""), "words")])
    return _table(head, rows)


def _paired_note(paired: Paired | None) -> str:
    if paired is None:
        return ""
    return (
        '<p class="note" style="margin-top:10px">p, paired: exact two-sided McNemar against the step promoted before it. '
        f"From cold start to the last promoted step, {paired.gained} tasks were gained and {paired.lost} lost of {paired.tasks} "
        f"(p = {paired.p:.2g}). "
        "Agent, prompts, tasks and seeds are the same; only the weights differ.</p>"
    )


def _cost(summary: RunSummary) -> str:
    keys = _key([(f"--{name.split('_')[0]}", words) for name, words in OUTCOME_WORDS.items()])
    by_step = summary.outcomes_by_step or {"all": summary.outcomes}
    left = _card(
        "How rollouts ended", "Infrastructure errors are retried, then masked: they count for nobody.", plots.outcomes(by_step) + keys
    )
    shown = {name: duration(value) for name, value in summary.phase_s.items()}
    right = _card("Where the time went", f"{duration(summary.wall_s)} in all.", plots.durations(summary.phase_s, shown))
    return f'<section>\n<h2>What it cost</h2>\n<div class="pair">{left}{right}</div>\n</section>'


def _taught(summary: RunSummary) -> str:
    rounds = [report for report in summary.rounds if report.examples]
    rows = [
        [
            _cell(report.name),
            *(_cell(f"{report.examples.get(stage, 0):,}", "n") for stage in STAGES),
            _cell(f"{sum(report.examples.values()):,}", "n"),
        ]
        for report in rounds
    ]
    table = _table(["Training rows", *(stage.capitalize() for stage in STAGES), "All"], rows)
    sides = ", ".join(f"{count:,} {side}" for side, count in summary.tasks.items())
    tasks = f"<p>Proven tasks: {escape(sides)}. Split by a hash of the files they touch before anything was trained.</p>" if sides else ""
    return f"<section>\n<h2>What it learnt from</h2>\n{tasks}{table}{_dropped(summary.dropped)}</section>"


def _dropped(dropped: Mapping[str, Mapping[str, int]]) -> str:
    rows = [
        [_cell(phase), _cell(reason), _cell(f"{count:,}", "n")]
        for phase, reasons in dropped.items()
        for reason, count in sorted(reasons.items(), key=lambda item: -item[1])
        if count
    ]
    if not rows:
        return ""
    total = sum(count for reasons in dropped.values() for count in reasons.values())
    inner = _table(["Phase", "Left out because", "Number"], rows)
    head = f'What was left out, and why <span class="note">{total:,} in all</span>'
    return f'<details><summary>{head}</summary><div class="inner">{inner}</div></details>'


def _lineage(summary: RunSummary) -> str:
    if not summary.lineage:
        return ""
    rows = []
    for ref in summary.lineage:
        loss = ref.metrics.get("eval_loss")
        cells = [
            _cell(ref.stage),
            f"<td><code>{escape(ref.model_id)}</code></td>",
            _cell(str(ref.rank), "n"),
            _cell(f"{ref.examples:,}", "n"),
        ]
        cells += [
            _cell("no row held back" if loss is None else f"{loss:.3f}", "n"),
            *(f"<td><code>{escape(h[:12])}</code></td>" for h in (ref.base_sha256, ref.data_sha256)),
        ]
        rows.append(cells)
    table = _table(["Stage", "Promoted adapter", "Rank", "Rows", "Held-out loss", "Frozen base", "Data"], rows)
    return (
        "<section>\n<h2>What is promoted</h2>\n<p>Every adapter was trained from the frozen base itself, never from another adapter. "
        f"The manifests in <code>adapters/</code> carry all hashes in full.</p>\n{table}</section>"
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


def _card(title: str, note: str, inner: str) -> str:
    return f'<div class="card"><h3>{escape(title)}</h3><p class="note">{escape(note)}</p>{inner}</div>'


def _key(entries: Iterable[tuple[str, str]]) -> str:
    return (
        '<ul class="key">'
        + "".join(f'<li><i style="background:var({color})"></i>{escape(words)}</li>' for color, words in entries)
        + "</ul>"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    numbers = [index for index in range(len(head)) if rows and 'class="n"' in rows[0][index]]
    heads = "".join(
        f'<th class="n">{escape(name)}</th>' if index in numbers else f"<th>{escape(name)}</th>" for index, name in enumerate(head)
    )
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str, kind: str = "") -> str:
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def _range(step: StepReport) -> str:
    return f"{100 * step.ci95.low:.0f} to {100 * step.ci95.high:.0f} %"


def _points(share: float) -> str:
    return f"{100 * share:.0f} points"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
