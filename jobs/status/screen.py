"""A `Status` on a terminal: rich renderables that fit 80 columns and more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from forge.observe.progress import clock
from forge.records import Decision
from jobs.status.view import Cost, Evaluated, Status, Try, Work

WIDE, NARROW = 100, 72
"""Columns from which bars are drawn longer, and below which there are none."""
STEPS = 6
"""Evaluated steps that are shown unless all are asked for; the first one always is."""
STATES = {"running": "bold green", "elsewhere": "bold yellow", "stopped": "bold red", "finished": "bold cyan"}
MARKS = {"done": ("✓ ", "green"), "now": ("▸ ", "bold"), "to come": ("· ", "dim")}
OUTCOMES = {
    "solved": ("solved", "green"),
    "failed": ("failed", "yellow"),
    "agent_error": ("by agent error", "magenta"),
    "infra_error": ("masked", "red"),
}
CHOICES = {"promote": "green", "allowed": "green", "keep": "red", "refused": "red", "doubt": "yellow", "stop": "yellow"}


def picture(status: Status, width: int, *, everything: bool = False, dense: bool = False) -> RenderableType:
    """The whole view; `everything` lists all steps and the decisions of all rounds, `dense` spares lines."""
    rows: list[tuple[str, RenderableType]] = []
    if status.now is not None:
        rows.append(("Now", _now(status.now, width)))
    rows += [("Better?", _better(status, width, everything, dense)), ("Cost", _cost(status.cost)), ("Next", Text(status.next))]
    told = status.now is not None and status.now.round is not None  # then the plan is shown already
    shown = status.decisions if everything else [d for d in status.of_round() if d.name != "plan" or not told]
    if shown:
        rows.append(("Decided" if everything else f"Round {status.round}", _decisions(shown, everything)))
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    grid.add_column(width=8, style="bold")
    grid.add_column(ratio=1)
    for label, found in rows:
        grid.add_row(label, found)
        if not dense:
            grid.add_row()
    return Group(_head(status), Text(), grid)


def line(status: Status) -> str:
    """The view in one line, for output that is no terminal."""
    work = status.now.work if status.now is not None else None
    last = status.steps[-1].step if status.steps else None
    parts = [
        status.told,
        f"{work.phase} {_counts(work)}".strip() if work is not None else "",
        f"{last.name} {last.pass_at_1:.0%}" if last is not None else "",
        clock(status.cost.spent.wall_s),
    ]
    return " · ".join(part for part in parts if part)


def _head(status: Status) -> Text:
    head = Text()
    head.append(f"{status.name}", style="bold")
    head.append(f" · seed {status.seed} · base {status.base} · sandbox {status.sandbox}\n", style="dim")
    head.append(status.told, style=STATES[status.state])
    if status.silent_s is not None and status.state != "finished":
        head.append(f" · last entry {clock(status.silent_s)} ago", style="dim")
    head.append(f"\n{status.workspace}", style="dim")
    return head


def _now(now: Try, width: int) -> RenderableType:
    told = Text(now.plan)
    if now.why:
        told.append(f"\nbecause {now.why}" if now.round is not None else f"\n{now.why}", style="dim")
    parts: list[RenderableType] = [told]
    if now.parts:
        track = Text()
        for part in now.parts:
            mark, style = MARKS[part.state]
            track.append(f"{mark}{part.name}", style=style)
            track.append("  ")
        parts.append(track)
    if now.work is not None:
        parts.append(_work(now.work, width))
    elif now.round is not None:
        parts.append(Text("between two phases: rows are chosen, or a decision is being made", style="dim"))
    return Group(*parts)


def _work(work: Work, width: int) -> Text:
    found = Text(f"{work.phase}: {work.what}" if work.what else work.phase, style="bold")
    moving = Text("\n", style="not bold")
    if work.all:
        long = 30 if width >= WIDE else 20
        filled = min(long, round(long * work.done / work.all))
        moving.append("█" * filled, style="green").append("░" * (long - filled), style="dim").append(" ")
    moving.append(_counts(work))
    if work.outcomes:
        moving.append("\n").append_text(_outcomes(work.outcomes))
    return found.append_text(moving)


def _counts(work: Work) -> str:
    counts = f"{work.done:,}/{work.all:,} {work.unit}" if work.all else f"{work.done:,} {work.unit}" if work.unit else ""
    pace = "" if work.per_s is None else f"{work.per_s:,.1f}/s" if work.per_s >= 0.1 else f"{60 * work.per_s:,.1f} a minute"
    left = f"{clock(work.left_s)} left" if work.left_s is not None else ""
    return "  ".join(part for part in (counts, pace, left, f"{clock(work.spent_s)} so far") if part)


def _outcomes(counts: dict[str, int]) -> Text:
    words = [Text(f"{counts[name]:,} {word}", style=style) for name, (word, style) in OUTCOMES.items() if counts.get(name)]
    return Text(", ").join(words)


def _better(status: Status, width: int, everything: bool, dense: bool) -> RenderableType:
    if not status.steps:
        return Text("nothing is evaluated yet", style="dim")
    table = Table.grid(padding=(0, 2 if width >= NARROW else 1, 0, 0))
    long = 20 if width >= WIDE else 12 if width >= NARROW else 0
    for index in range(6 if long else 4):
        table.add_column(justify="right" if index == (2 if long else 1) else "left", no_wrap=True)
    shown = list(status.steps) if everything or len(status.steps) <= STEPS else [status.steps[0], *status.steps[1 - STEPS :]]
    for item in shown:
        table.add_row(*_step(item, long))
    parts: list[RenderableType] = [table]
    reasons = [item for item in (shown[-1:] if dense else shown) if item.reason and item.step.round >= 1]
    parts += [Text(f"{item.step.name}: {item.reason}", style="dim") for item in reasons]
    if left_out := len(status.steps) - len(shown):
        parts.insert(0, Text(f"{left_out} steps between the first two lines: --decisions shows all", style="dim"))
    if status.better:
        parts.append(Text(status.better, style="bold"))
    told = dense and status.now is not None and bool(status.now.why) and status.now.why in status.lately
    if status.lately and not told:
        parts.append(Text(status.lately, style="dim"))
    return Group(*parts)


def _step(item: Evaluated, long: int) -> Sequence[Text]:
    step = item.step
    alone, kept = ("the base alone", "kept the old") if long else ("base", "kept")
    word = alone if step.round == 0 else "promoted" if step.promoted else kept
    name, share = Text(step.name), Text(f"{step.pass_at_1:.0%}", style="bold")
    sure = Text(f"{100 * step.ci95.low:.0f} to {100 * step.ci95.high:.0f} %", style="dim")
    decided = Text(word, style="dim" if step.round == 0 else "green" if step.promoted else "red")
    if not long:
        return name, share, Text(f"{100 * step.ci95.low:.0f}-{100 * step.ci95.high:.0f}", style="dim"), decided
    low, at, high = (round(long * share) for share in (step.ci95.low, step.pass_at_1, step.ci95.high))
    bar = Text("█" * low, style="green").append("▓" * (at - low), style="green").append("░" * (high - at), style="green")
    bar.append(" " * (long - high))
    return name, bar, share, sure, Text("" if step.paired_p is None else f"p {step.paired_p:.2g}", style="dim"), decided


def _cost(cost: Cost) -> RenderableType:
    spent = cost.spent
    used = {
        "wall_s": (spent.wall_s, clock(spent.wall_s), clock, "wall time"),
        "tokens": (float(spent.tokens), _short(spent.tokens), _short, "tokens"),
        "gpu_hours": (spent.gpu_hours, f"{spent.gpu_hours:.2f}", lambda v: f"{v:g}", "GPU hours"),
        "money": (spent.money, f"{spent.money:.2f}", lambda v: f"{v:g}", "in money"),
    }
    found = Text()
    for key, (value, told, as_words, unit) in used.items():
        limit = cost.budget.get(key)
        if not value and limit is None and key in ("gpu_hours", "money"):
            continue
        of = f" of {as_words(limit)}" if limit is not None else ""
        found.append(" · " if found else "").append(f"{told}{of} {unit}", style="yellow" if limit and value >= 0.9 * limit else "")
    if not cost.budget:
        found.append(" · no budget is set", style="dim")
    total = sum(cost.rollouts.values())
    found.append(f"\n{total:,} rollouts")
    if total:
        found.append(": ").append_text(_outcomes(cost.rollouts))
    if cost.retries:
        found.append(f" · {cost.retries:,} infrastructure retries", style="yellow")
    return found


def _decisions(decisions: Iterable[Decision], with_round: bool) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    for ratio in (None, None, 1) if not with_round else (None, None, None, 1):
        table.add_column(ratio=ratio)
    for decision in decisions:
        cells = [Text(decision.name), Text(decision.choice, style=CHOICES.get(decision.choice, "")), Text(decision.why, style="dim")]
        table.add_row(*([Text(f"{decision.round}", style="bold"), *cells] if with_round else cells))
    return table


def _short(tokens: float) -> str:
    """`812`, `4.2 k` or `1.3 M`."""
    return f"{tokens / 1e6:.1f} M" if tokens >= 1e6 else f"{tokens / 1e3:.1f} k" if tokens >= 1e3 else f"{tokens:,.0f}"
