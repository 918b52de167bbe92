"""What the report's sections are made of: cards, tables, and figures as people say them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from forge.records import StepReport


def duration(seconds: float) -> str:
    """`48 s`, `7 min 05 s` or `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if seconds >= 10 else f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def card(title: str, note: str, inner: str) -> str:
    """A box with a heading, a note under it, and `inner`, which is HTML."""
    return f'<div class="card"><h3>{escape(title)}</h3><p class="note">{escape(note)}</p>{inner}</div>'


def key(entries: Iterable[tuple[str, str]]) -> str:
    """What the colours of a drawing mean: variables of the style sheet and words."""
    return (
        '<ul class="key">'
        + "".join(f'<li><i style="background:var({color})"></i>{escape(words)}</li>' for color, words in entries)
        + "</ul>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls sideways where it is too wide; cells are HTML, from `cell`."""
    numbers = [index for index in range(len(head)) if rows and 'class="n"' in rows[0][index]]
    heads = "".join(
        f'<th class="n">{escape(name)}</th>' if index in numbers else f"<th>{escape(name)}</th>" for index, name in enumerate(head)
    )
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def cell(text: str, kind: str = "") -> str:
    """One cell; of kind `n` for a number, `words` for what may wrap."""
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def interval(step: StepReport) -> str:
    """The 95 % interval of a step, in words."""
    return f"{100 * step.ci95.low:.0f} to {100 * step.ci95.high:.0f} %"


def p_value(p: float) -> str:
    """A p as people write it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def sentence(words: str) -> str:
    """The words with a capital letter and a full stop."""
    return words[:1].upper() + words[1:].rstrip(".") + "."
