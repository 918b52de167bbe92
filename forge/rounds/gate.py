"""Whether a candidate round replaces the promoted adapters: paired, on the held-out tasks, never by averages alone."""

from __future__ import annotations

from collections.abc import Mapping

from forge.evals.paired import Paired, compare
from forge.records import Record


class Gate(Record):
    """The decision, in words, and the comparison that it rests on."""

    promote: bool
    reason: str
    paired: Paired


def decide(promoted: Mapping[str, bool], candidate: Mapping[str, bool], max_p: float) -> Gate:
    """Promote unless the paired test says worse at `max_p`; both map task id to solved, over the tasks they share."""
    paired = compare(promoted, candidate)
    evidence = f"{paired.gained} tasks gained, {paired.lost} lost, p = {paired.p:.2g}"
    if paired.lost > paired.gained and paired.p < max_p:
        return Gate(promote=False, reason=f"worse: {evidence}; the promoted adapters stay", paired=paired)
    word = "better" if paired.gained > paired.lost and paired.p < max_p else "not worse"
    return Gate(promote=True, reason=f"{word}: {evidence}", paired=paired)
