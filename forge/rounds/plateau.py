"""Is it still learning, and if not, what is tried next: fresh tasks, easier or more of them, more samples, DPO, and then the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from forge.config import RoundsConfig
from forge.evals.paired import Paired, PairedRates, compare, compare_rates
from forge.records import Easier, Record
from forge.rounds.past import Past, rates

FRESH, EASIER_TASKS, MORE_TASKS, MORE_SAMPLES, DPO = "fresh tasks", "easier tasks", "more tasks", "more samples", "dpo"


class Progress(Record):
    """Whether the last rounds brought a proven gain, in words.

    `doubt`: it looks like a gain that nothing proves, and a second look at these two steps could.
    """

    choice: Literal["learning", "flat", "doubt"]
    why: str
    steps: tuple[str, str] | None = None
    """The earlier and the later step that were compared."""


class Stock(Record):
    """What there is to try: training tasks proven but not yet taken on, easier ones where those tried are too hard, pairs by stage."""

    fresh: int = 0
    too_hard: bool = False
    """Whether at least half of the tasks sampled last went unsolved."""
    easier: Easier | None = None
    """Easier training tasks that can be asked for."""
    pairs: dict[str, int] = {}


def progress(past: Past, rounds: RoundsConfig) -> Progress:
    """Learning, when the adapters promoted now solve a provably larger share of the held-out tasks than those promoted
    `rounds.plateau` rounds ago, or than those promoted when the first lever was pulled. Flat, when they do not.

    What was looked at again counts with all its rollouts; what was not and looks like a gain is in doubt, if there are second looks.
    """
    last = past.next_round - 1
    if last < 1 + rounds.plateau:
        return Progress(choice="learning", why=f"fewer than {rounds.plateau} rounds since the cold start")
    levers = levers_since_gain(past)
    starts = [last - rounds.plateau, *([min(levers) - 1 - rounds.plateau] if levers else [])]
    doubt: Progress | None = None
    told = "no adapters were promoted"
    for start in dict.fromkeys(max(1, start) for start in starts):
        before, now = past.promoted(after=start), past.promoted()
        if before is None or now is None or before == now:
            continue
        paired = _compared(past, before, now)
        why = f"{_told(paired)} since round {start}"
        if paired.difference > 0 and paired.p < rounds.max_p:
            return Progress(choice="learning", why=why, steps=(before, now))
        if paired.difference > 0 and rounds.second_look and isinstance(paired, Paired):
            doubt = doubt or Progress(choice="doubt", why=f"looks like a gain, which may be chance: {why}", steps=(before, now))
        told = why
    return doubt or Progress(choice="flat", why=f"no proven gain in {rounds.plateau} rounds: {told}")


def next_lever(past: Past, stock: Stock, rounds: RoundsConfig) -> str | None:
    """The first lever that is there and was not pulled since the last gain; `None` when all were."""
    pulled = set(levers_since_gain(past).values())
    samples = max((plan.samples for plan in past.plans), default=rounds.samples)
    enough = bool(rounds.preference_pairs) and max(stock.pairs.values(), default=0) >= rounds.preference_pairs
    there: Mapping[str, bool] = {
        FRESH: stock.fresh > 0,
        EASIER_TASKS: stock.too_hard and stock.easier is not None,
        MORE_TASKS: rounds.more_tasks > 0,
        MORE_SAMPLES: samples < rounds.most_samples,
        DPO: enough,
    }
    return next((lever for lever, usable in there.items() if usable and lever not in pulled), None)


def levers_since_gain(past: Past) -> dict[int, str]:
    """Levers by round, back to the last round that was planned without one: that is when the loop was learning."""
    found: dict[int, str] = {}
    for plan in reversed(past.plans):
        if plan.kind == "scaffold":
            continue
        if not plan.lever:
            break
        found[plan.round] = plan.lever
    return found


def _compared(past: Past, before: str, now: str) -> Paired | PairedRates:
    """The greedy rollouts of two steps on the held-out tasks, or all rollouts where both were looked at again."""
    if before in past.again and now in past.again:
        return compare_rates(rates(past.again[before]), rates(past.again[now]))
    return compare(past.heldout[before], past.heldout[now])


def _told(paired: Paired | PairedRates) -> str:
    if isinstance(paired, PairedRates):
        return f"{100 * paired.difference:+.1f} points over {paired.tasks} held-out tasks looked at again, p = {paired.p:.2g}"
    return f"{paired.gained} held-out tasks gained, {paired.lost} lost, p = {paired.p:.2g}"
