"""The data card as a page for people."""

from __future__ import annotations

from importlib import resources

import jinja2

from forge.mining.card import DataCard
from forge.observe import html


def card_page(card: DataCard) -> str:
    """The whole HTML document."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["tosorted"] = dict
    template = environment.from_string((resources.files("forge.mining") / "card.jinja").read_text(encoding="utf-8"))
    body = template.render(card=card, counts=card.counts, facts=_facts(card), kind=_kind)
    return html.page(f"{card.name}: data card", body)


def _facts(card: DataCard) -> list[tuple[str, str, str]]:
    counts = card.counts
    facts = [
        ("Kept", f"{counts.survivors / max(1, counts.commits):.1%}", f"of {counts.commits:,} commits"),
        ("Repositories", f"{counts.repositories:,}", f"{len(card.repositories):,} with rows, {len(counts.failures):,} failures"),
        ("Teach the stages", f"{counts.teaching:,}", f"{sum(counts.examples.values()):,} stage rows"),
        ("Held out", f"{counts.heldout:,}", "rows that no stage learns from"),
        ("Duplicates", f"{_dropped(card, 'duplicate'):,}", "dropped, exact and near"),
        ("Contaminated", f"{_dropped(card, 'contaminated'):,}", "dropped: n-grams of benchmarks"),
    ]
    if counts.spent != type(counts.spent)():
        facts.append(("Teacher", f"{counts.spent.asked + counts.spent.cached:,}", counts.spent.told()))
    return facts


def _dropped(card: DataCard, word: str) -> int:
    return sum(number for reason, number in card.counts.drops.items() if word in reason)


def _kind(line: str) -> str:
    """The style of a diff's line."""
    if line.startswith(("diff --git", "index ", "--- ", "+++ ", "@@", "similarity", "rename", "new file", "deleted file")):
        return "where"
    return {"+": "plus", "-": "minus"}.get(line[:1], "")
