"""An ablation as a table of text and as one HTML page, and both on disk."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from forge.evals.ablation import Ablation, Arm, Contrast, Share, Trained
from forge.evals.pages.parts import duration
from forge.evals.pages.plots import LABELS
from forge.evals.pages.svg import percent
from forge.observe import html
from forge.store import atomic

JSON, HTML = "ablation.json", "ablation.html"
SIDE = {"heldout": "held-out", "transfer": "transfer"}
WIDTHS = (16, 18, 9, 8, 10, 7, 12, 13)
"""Characters of the text table's columns after the first."""
ALIKE = (
    "In each seed every trained arm took the very same rows, each just as often and in the same batches: as many tokens, as many steps.",
    "What differs is which weights they went into. The adapters for the stages are trained as the loop trains them; for one adapter their "
    "batches are spread evenly over one run.",
    "Greedy, one attempt a task. Bars are 95 % intervals over tasks, numbers in the table means over seeds.",
)


def write(folder: Path, found: Ablation) -> Path:
    """Write `ablation.json` and `ablation.html` into `folder`; returns the path of the page."""
    atomic.write_text(folder / JSON, found.model_dump_json(indent=1) + "\n")
    atomic.write_text(folder / HTML, page(found))
    return folder / HTML


def table(found: Ablation) -> str:
    """The answer as a few lines of text."""
    head = ("arm", "held-out pass@1", "95 % interval", "transfer", "rows", "tokens", "steps", "parameters", "training")
    compared = [f"  {SIDE[one.side] + ':':<10}{one.first} - {one.second}: {_points(one)}" for one in found.contrasts]
    arms = [_line(_row(arm)) for arm in found.arms]
    return "\n".join(["", _line(head), *arms, "", *compared, "", *(f"  {sentence}" for sentence in found.verdict), ""])


def page(found: Ablation) -> str:
    """The whole page."""
    seeds = f"{len(found.seeds)} training seeds" if len(found.seeds) > 1 else f"training seed {found.seeds[0]}"
    name = f"forge ablate · {found.name} · rows of {found.rows_of} · {seeds} · {found.finished[:16].replace('T', ' ')}"
    head = ["Arm", "Held-out pass@1", "95 %", "Transfer", "Rows", "Tokens", "Steps", "Parameters", "Training"]
    lead = "".join(f'<p class="lead">{escape(sentence)}</p>' for sentence in found.verdict)
    alike = "".join(f"<p>{escape(sentence)}</p>" for sentence in ALIKE)
    pair = f'<div class="pair">{_drawn(found.arms)}<div class="card"><h3>What was alike, and what was not</h3>{alike}</div></div>'
    body = [
        f'<header>\n<p class="name">{escape(name)}</p>\n<h1>One adapter a stage, or one for all?</h1>\n{lead}\n</header>',
        f"<section>\n<h2>What the same rows come to</h2>\n{pair}\n{_table(head, [_row(arm) for arm in found.arms])}\n</section>",
        f"<section>\n<h2>Compared</h2>\n{_compared(found.contrasts)}\n</section>",
        f"<section>\n<h2>Each seed</h2>\n{_seeds(found)}\n</section>",
        _stages(found.arms),
        f"<section>\n<h2>How it was trained</h2>\n{_trained(found)}\n</section>",
    ]
    return html.page(f"{found.name}: one adapter a stage, or one for all", "\n".join(body))


def _row(arm: Arm) -> tuple[str, ...]:
    """Numbers of rows, tokens, steps and parameters are means over seeds."""
    trained = [run.trained for run in arm.runs if run.trained is not None]
    transfer = f"{percent(arm.transfer.solved, 1)}" if arm.transfer else "-"
    shown = (arm.name, percent(arm.heldout.solved, 1), _interval(arm.heldout), transfer)
    if not trained:
        return *shown, "-", "-", "-", "0", "-"
    means = [f"{_mean(trained, key):,.0f}" for key in ("rows", "tokens", "steps", "parameters")]
    return *shown, *means, duration(_mean(trained, "seconds"))


def _mean(trained: Sequence[Trained], key: str) -> float:
    return sum(float(getattr(one, key)) for one in trained) / len(trained)


def _interval(share: Share) -> str:
    return f"{100 * share.ci95.low:.1f} to {100 * share.ci95.high:.1f} %"


def _points(one: Contrast) -> str:
    interval = f"{100 * one.ci95.low:+.1f} to {100 * one.ci95.high:+.1f}"
    return f"{100 * one.difference:+.1f} points (95 %: {interval}), p = {one.p:.2g}, corrected {one.p_holm:.2g}"


def _line(cells: Sequence[str]) -> str:
    first, *others = cells
    return f"  {first:<17}" + "".join(f"{cell:>{width}}" for cell, width in zip(others, WIDTHS, strict=True))


def _drawn(arms: Sequence[Arm]) -> str:
    """Shares solved with their intervals, a row for each arm: held-out, and transfer below it."""
    left, right, height = 150.0, 428.0, 46
    parts = [
        f'<line class="grid" x1="{_x(tick, left, right):.0f}" y1="8" x2="{_x(tick, left, right):.0f}" y2="{len(arms) * height}"/>'
        f'<text class="axis middle" x="{_x(tick, left, right):.0f}" y="{len(arms) * height + 18}">{percent(tick)}</text>'
        for tick in (0, 0.25, 0.5, 0.75, 1)
    ]
    for at, arm in enumerate(arms):
        middle = at * height + height / 2
        parts.append(f'<text class="name end" x="{left - 14:.0f}" y="{middle + 4:.0f}">{escape(arm.name)}</text>')
        parts.append(_whisker(arm.heldout, middle - (8 if arm.transfer else 0), left, right, "heldout"))
        if arm.transfer:
            parts.append(_whisker(arm.transfer, middle + 8, left, right, "transfer"))
    label = ", ".join(f"{arm.name} {percent(arm.heldout.solved)} ({_interval(arm.heldout)})" for arm in arms)
    key = (
        '<ul class="key"><li><i style="background:var(--accent)"></i>held-out tasks of the same repositories</li>'
        '<li><i style="background:var(--other)"></i>tasks of a repository never trained on</li></ul>'
    )
    drawing = f'<svg viewBox="0 0 440 {len(arms) * height + 26}" role="img" aria-label="{escape(label, quote=True)}">{"".join(parts)}</svg>'
    return f'<div class="card">{drawing}{key if any(arm.transfer for arm in arms) else ""}</div>'


def _x(share: float, left: float, right: float) -> float:
    return left + share * (right - left)


def _whisker(share: Share, y: float, left: float, right: float, kind: str) -> str:
    low, high, at = (_x(value, left, right) for value in (share.ci95.low, share.ci95.high, share.solved))
    ends = "".join(f'<line class="bar" x1="{x:.1f}" y1="{y - 4:.1f}" x2="{x:.1f}" y2="{y + 4:.1f}"/>' for x in (low, high))
    title = f"<title>{percent(share.solved, 1)} ({_interval(share)})</title>"
    line = f'<line class="bar" x1="{low:.1f}" y1="{y:.1f}" x2="{high:.1f}" y2="{y:.1f}"/>'
    return f'<g class="{kind}">{title}{line}{ends}<circle cx="{at:.1f}" cy="{y:.1f}" r="5"/></g>'


def _compared(contrasts: Sequence[Contrast]) -> str:
    rows = []
    for one in contrasts:
        interval = f"{100 * one.ci95.low:+.1f} to {100 * one.ci95.high:+.1f}"
        seeds = ", ".join(f"{100 * value:+.0f}" for value in one.by_seed)
        figures = (f"{100 * one.difference:+.1f}", interval, f"{one.p:.2g}", f"{one.p_holm:.2g}", seeds)
        rows.append((f"{one.first} - {one.second}", SIDE[one.side], *figures, "proven" if one.proven else "not proven"))
    note = (
        "Points are first minus second. Paired over the same tasks: exact McNemar for one seed, sign flips of the tasks' mean differences "
        "for several. Corrected by Holm for the comparisons on each side. The tests speak for these tasks and these seeds."
    )
    head = ["Arms", "Tasks", "Points", "95 %", "p", "p, corrected", "Each seed", ""]
    return f'<p class="note">{escape(note)}</p>' + _table(head, rows)


def _seeds(found: Ablation) -> str:
    rows = []
    for arm in found.arms:
        for run in arm.runs:
            transfer = f"{run.transfer.solved}/{run.transfer.tasks}" if run.transfer else "-"
            trained = run.trained
            said = (f"{trained.rows:,}", f"{trained.distinct_rows:,}", f"{trained.answer_tokens:,}") if trained else ("-", "-", "-")
            rows.append((arm.name, str(run.seed) if trained else "-", f"{run.heldout.solved}/{run.heldout.tasks}", transfer, *said))
    return _table(["Arm", "Seed", "Held-out", "Transfer", "Rows taken", "Of these distinct", "Answer tokens"], rows)


def _stages(arms: Sequence[Arm]) -> str:
    """How good each stage was by itself, the mean over seeds."""
    scored = {arm.name: [run.heldout.stage_scores for run in arm.runs] for arm in arms}
    names = [name for name in LABELS if any(name in scores for found in scored.values() for scores in found)]
    if not names:
        return ""
    rows = [(LABELS[name], *(_score([scores[name] for scores in scored[arm.name] if name in scores]) for arm in arms)) for name in names]
    shown = _table(["", *(arm.name for arm in arms)], rows)
    note = '<p class="note">Against the gold change, on held-out tasks.</p>'
    return f"<section>\n<h2>Each stage on its own</h2>\n{note}\n{shown}\n</section>"


def _score(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else "-"


def _trained(found: Ablation) -> str:
    rows = []
    for arm in found.arms:
        trained = arm.runs[0].trained
        for stage, rank in trained.ranks.items() if trained else ():
            rows.append((arm.name, stage, str(rank), f"{trained.learning_rates[stage]:.2g}" if trained else ""))
    tuned = "".join(f"<p>{escape(arm)}: {escape(why)}</p>" for arm, why in found.tuned.items())
    untaught = f"<p>Left to the base in every arm: {escape(', '.join(found.untaught))}.</p>" if found.untaught else ""
    about = "".join(f"<p><strong>{escape(arm.name)}</strong>: {escape(arm.about)}</p>" for arm in found.arms)
    ran = f"Base {found.base}. {found.hardware}. Sandbox: {found.sandbox}. {duration(found.wall_s)} in all. forge {found.forge}."
    return about + _table(["Arm", "Adapter", "Rank", "Learning rate"], rows) + tuned + untaught + f'<p class="note">{escape(ran)}</p>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    kinds = ["n" if at and all(row[at][:1].isdigit() or row[at][:1] in "+-" for row in rows) else "" for at in range(len(head))]
    heads = "".join(f'<th class="{kind}">{escape(name)}</th>' for name, kind in zip(head, kinds, strict=True))
    cells = ["".join(f'<td class="{kind}">{escape(cell)}</td>' for cell, kind in zip(row, kinds, strict=True)) for row in rows]
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
