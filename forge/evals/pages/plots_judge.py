"""Drawings of the judge: what its choice among several answers is worth, and how far its scores can be believed."""

from __future__ import annotations

from collections.abc import Sequence

from forge.evals.best_of_n import BestOfN, Bin
from forge.evals.pages.svg import WIDTH, Box, line, percent, shares, svg, text


def curve(found: BestOfN) -> str:
    """pass@k above, best@k with its 95 % intervals below, over k answers."""
    box = Box(40, 16, WIDTH - 78, 250)
    ks = range(found.n)
    places = [box.x(k / (found.n - 1)) for k in ks]
    parts = shares(box)
    parts += [text(x, box.bottom + 22, f"{k + 1}", "axis middle") for k, x in enumerate(places)]
    parts.append(text((box.left + box.right) / 2, box.bottom + 40, "answers to a task", "axis middle"))
    parts.append(_joined(places, [box.y(share) for share in found.any], "trend any"))
    parts.append(_joined(places, [box.y(share) for share in found.best], "trend"))
    for k, x in enumerate(places):
        low, high, best, some = (box.y(share) for share in (found.best_ci95[k].low, found.best_ci95[k].high, found.best[k], found.any[k]))
        told = f"{percent(found.best[k], 1)} ({percent(found.best_ci95[k].low)} to {percent(found.best_ci95[k].high)})"
        parts += [
            f'<g class="transfer"><title>one of {k + 1} is right: {percent(found.any[k], 1)}</title>'
            f'<circle cx="{x:.1f}" cy="{some:.1f}" r="4"/></g>',
            f'<g class="heldout"><title>chosen among {k + 1}: {told}</title>{line(x, low, x, high, "bar")}'
            f'{line(x - 4, low, x + 4, low, "bar")}{line(x - 4, high, x + 4, high, "bar")}<circle cx="{x:.1f}" cy="{best:.1f}" r="5"/></g>',
        ]
    above, below = box.y(found.any[-1]), box.y(found.best[-1])
    below = max(below, above + 15)  # two labels on one line would not be read
    parts.append(text(places[-1] + 10, above + 2, f"{percent(found.any[-1])} any", "value"))
    parts.append(text(places[-1] + 10, below + 6, f"{percent(found.best[-1])} best", "value"))
    parts.append(text(places[0] + 9, box.y(found.best[0]) + 18, percent(found.best[0]), "value"))
    described = "; ".join(f"{k + 1}: chosen {percent(found.best[k])}, any {percent(found.any[k])}" for k in ks)
    return svg(300, f"Share of tasks solved by number of answers. {described}", parts)


def reliability(bins: Sequence[Bin]) -> str:
    """Share of right answers over the judge's score, a dot a tenth with its count; on the diagonal scores mean what they say."""
    box = Box(40, 16, WIDTH - 26, 250)
    most = max((item.answers for item in bins), default=1)
    parts = [*shares(box), line(box.x(0), box.y(0), box.x(1), box.y(1), "diagonal")]
    parts += [text(box.x(tick), box.bottom + 22, percent(tick), "axis middle") for tick in (0, 0.5, 1)]
    parts.append(text((box.left + box.right) / 2, box.bottom + 40, "score by review", "axis middle"))
    for item in bins:
        x, y = box.x(item.score), box.y(item.right)
        radius = 3 + 7 * (item.answers / most) ** 0.5
        title = f"{item.answers:,} answers scored {percent(item.score)} on average: {percent(item.right)} are right"
        parts.append(line(x, box.y(item.score), x, y, "gap"))
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"><title>{title}</title></circle>')
        above = item.right > 0.9
        parts.append(text(x, y + radius + 13 if above else y - radius - 5, f"{item.answers:,}", "axis middle"))
    described = "; ".join(f"{percent(item.score)}: {percent(item.right)} of {item.answers} right" for item in bins)
    return svg(300, f"Share of right answers by score. {described}", parts)


def _joined(xs: Sequence[float], ys: Sequence[float], kind: str) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    return f'<polyline class="{kind}" points="{points}"/>'
