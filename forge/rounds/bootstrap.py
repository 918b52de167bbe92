"""Whether the agent has solved enough by itself to learn from itself.

Below about a hundred different solves, small models trained on their own answers got worse, not better (STaR, arXiv 2203.14465, on
models whose few-shot accuracy is near chance; reports of loops on 7B and 14B bases name the same number).
"""

from __future__ import annotations

from forge.records import Decision
from forge.rounds.past import Past


def self_training(past: Past, minimum: int) -> Decision:
    """`allowed` or `refused`, by the number of different training tasks that the agent solved by itself."""
    solves = past.own_solves()
    figures = {"own_solves": float(solves), "minimum": float(minimum)}
    shared = {"round": past.next_round, "name": "bootstrap", "figures": figures}
    if solves and solves >= minimum:
        return Decision(choice="allowed", why=f"{solves} different training tasks solved by itself, {minimum} are asked for", **shared)
    if not solves:
        why = "no training task was solved, so there is nothing to learn from"
    else:
        why = f"only {solves} different training tasks were solved by itself, and learning from oneself wants {minimum}"
    cure = "a teacher (teacher.model), a stronger base, easier or more tasks"
    lower = f", or rounds.bootstrap_solves={solves} at your own risk" if solves else ""
    return Decision(choice="refused", why=f"{why}; take {cure}{lower}", **shared)
