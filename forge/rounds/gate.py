"""Whether a candidate round replaces the promoted adapters: paired, on the held-out tasks, never by averages alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from forge.evals.intervals import wilson
from forge.evals.paired import Paired, compare, compare_rates
from forge.records import Record
from forge.rounds.past import Tally, rates

REGRESSION_SHARE = 0.1
"""Share of once solved training tasks that may be lost; more than that, proven by an interval, refuses a round."""
NAMED = 5
"""Lost tasks that a reason names."""


class Gate(Record):
    """The decision, in words, and the comparison that it rests on.

    `doubt`: it looks worse and nothing proves it, so a second look is asked for.
    """

    choice: Literal["promote", "keep", "doubt"]
    why: str
    figures: dict[str, float] = {}
    lost: tuple[str, ...] = ()
    """Held-out tasks that the promoted adapters solve and the candidate does not."""

    @property
    def promote(self) -> bool:
        return self.choice == "promote"


class Regression(Record):
    """Training tasks that were solved surely enough to retire, and those of them that the candidate solves no more."""

    tasks: int
    lost: tuple[str, ...]


def decide(
    promoted: Mapping[str, bool],
    candidate: Mapping[str, bool],
    max_p: float,
    *,
    second_look: bool = False,
    regression: Regression | None = None,
) -> Gate:
    """Promote a round that is better or as good, keep the promoted adapters when it is proven worse, doubt in between.

    `promoted` and `candidate` map task id to solved, over the tasks they share. Without a `second_look` doubt is no choice: what
    looks worse is then promoted unless it is proven worse at `max_p`.
    """
    paired = compare(promoted, candidate)
    evidence = f"{paired.gained} tasks gained, {paired.lost} lost, p = {paired.p:.2g}"
    shared = {"figures": _figures(paired), "lost": tuple(sorted(t for t, was in promoted.items() if was and candidate.get(t) is False))}
    if regression is not None and wilson(len(regression.lost), regression.tasks).low > REGRESSION_SHARE:
        lost = f"{len(regression.lost)} of {regression.tasks} training tasks that were solved surely are solved no more"
        return Gate(choice="keep", why=f"forgets: {lost} ({_named(regression.lost)}); the promoted adapters stay", **shared)
    if paired.lost > paired.gained:
        if paired.p < max_p:
            return Gate(choice="keep", why=f"worse: {evidence}; the promoted adapters stay", **shared)
        if second_look:
            return Gate(choice="doubt", why=f"looks worse, which may be chance: {evidence}; lost {_named(shared['lost'])}", **shared)
    word = "better" if paired.gained > paired.lost and paired.p < max_p else "not worse"
    return Gate(choice="promote", why=f"{word}: {evidence}", **shared)


def look_again(promoted: Mapping[str, Tally], candidate: Mapping[str, Tally], max_p: float) -> Gate:
    """The decision after a second look: several rollouts of each task, the greedy ones counted in.

    Promoted when the candidate solves at least as large a share of them; what is left of a doubt then speaks for the old.
    """
    paired = compare_rates(rates(promoted), rates(candidate))
    evidence = f"{100 * paired.difference:+.1f} points over {paired.tasks} tasks looked at again, p = {paired.p:.2g}"
    figures = {"difference": paired.difference, "p": paired.p, "tasks": float(paired.tasks)}
    if paired.difference >= 0:
        return Gate(choice="promote", why=f"not worse: {evidence}", figures=figures)
    proven = "worse" if paired.p < max_p else "still looks worse"
    return Gate(choice="keep", why=f"{proven}: {evidence}; the promoted adapters stay", figures=figures)


def _figures(paired: Paired) -> dict[str, float]:
    return {"gained": float(paired.gained), "lost": float(paired.lost), "p": paired.p, "difference": paired.difference}


def _named(tasks: Collection[str]) -> str:
    shown = ", ".join(sorted(tasks)[:NAMED])
    return shown + (f" and {len(tasks) - NAMED} more" if len(tasks) > NAMED else "")
