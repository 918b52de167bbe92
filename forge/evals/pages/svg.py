"""What drawings are made of: plain SVG, `WIDTH` units wide so that it reads on a phone, colours from the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH = 440
TICKS = (0, 0.25, 0.5, 0.75, 1)


class Box(NamedTuple):
    """The area of a plot that data is drawn in, in SVG units."""

    left: float
    top: float
    right: float
    bottom: float

    def x(self, share: float) -> float:
        return self.left + share * (self.right - self.left)

    def y(self, share: float) -> float:
        return self.bottom - share * (self.bottom - self.top)


def shares(box: Box) -> list[str]:
    """Grid lines and labels of an axis from 0 to 100 %."""
    lines = [line(box.left, box.y(tick), box.right, box.y(tick), "grid") for tick in TICKS]
    return lines + [text(box.left - 8, box.y(tick) + 4, percent(tick), "axis end") for tick in TICKS]


def percent(share: float, digits: int = 0) -> str:
    """`68 %`, the way the whole report writes it."""
    return f"{100 * share:.{digits}f} %"


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A line of a class of the style sheet."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(x: float, y: float, words: str, kind: str) -> str:
    """Words at a point, in a class of the style sheet."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def svg(height: float, described: str, parts: Sequence[str]) -> str:
    """The whole drawing; `described` is what a screen reader says."""
    label = escape(described, quote=True)
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
