"""How often the scheduler decides right, in a made-up world in which the truth is known (`forge/rounds/world.py`).

Each run plants what its rounds are worth at random: a gain, nothing, a regression, a reward hack that slips through the grades of
training tasks, an infrastructure storm. Gates and changes of course are counted as right or wrong, by size of the effect and number of
held-out tasks: how many tasks one needs to see how much. Beside them, whether easier tasks are asked for when they should be.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from forge.config import ForgeConfig, load
from forge.fakes.tracker import RecordingTracker
from forge.rounds.world import Climate, Judged, Planted, judged, judged_easier, live

SETTINGS = ("rounds.samples=2", "rounds.probe=2", "rounds.bootstrap_solves=1", "rounds.more_tasks=10", "rounds.most_samples=4")
ROUNDS_A_RUN = 8


def main() -> None:
    """Print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="rounds in each cell of the table")
    parser.add_argument("--heldout", type=int, nargs="+", default=[100, 200, 400])
    parser.add_argument("--effects", type=float, nargs="+", default=[0.05, 0.1, 0.15])
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    given = parser.parse_args()
    figures = []
    print(f"  {'held-out':>8}{'effect':>8}{'gates right':>16}{'courses right':>16}{'all':>8}")
    for heldout in given.heldout:
        for effect in given.effects:
            found = decisions(given.rounds, Climate(heldout=heldout, effect=effect))
            shares = {kind: share([one for one in found if kind in (one.kind, "all")]) for kind in ("gate", "course", "all")}
            figures.append({"heldout": heldout, "effect": effect, "decisions": len(found), **shares, "wrong": wrong(found)})
            gates, courses = (sum(one.kind == kind for one in found) for kind in ("gate", "course"))
            cells = f"{shares['gate']:.1%} of {gates}", f"{shares['course']:.1%} of {courses}"
            print(f"  {heldout:>8}{effect:>8.0%}{cells[0]:>16}{cells[1]:>16}{shares['all']:>8.1%}  {wrong(found)}")
    asked = answers(given.rounds)
    needed = sum(one.planted == "needed" for one in asked)
    print(f"  easier tasks: {share(asked):.1%} of {len(asked)} plans right, {needed} of which wanted them  {wrong(asked)}")
    figures.append({"easier": share(asked), "decisions": len(asked), "needed": needed, "wrong": wrong(asked)})
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def decisions(rounds: int, climate: Climate) -> list[Judged]:
    """Every judged decision of as many made-up runs as it takes for so many rounds."""
    found: list[Judged] = []
    seed = climate.seed
    while sum(one.kind == "gate" for one in found) < rounds:
        found += one_run(climate.model_copy(update={"seed": seed}))
        seed += 1
    return found


def one_run(climate: Climate) -> list[Judged]:
    """The decisions of one run whose rounds are worth what a dice says, a gain as often as nothing."""
    rng = random.Random(climate.seed)
    kinds: Sequence[Planted] = ("gain", "none", *get_args(Planted))
    truths: dict[int, Planted] = {number: rng.choice(kinds) for number in range(2, 2 + ROUNDS_A_RUN)}
    config = settings(climate)
    with tempfile.TemporaryDirectory(prefix="forge-world-") as folder:
        live(config, climate, truths, Path(folder), RecordingTracker())
        return judged(config, climate, truths, Path(folder))


def answers(plans: int, *, first: int = 0) -> list[Judged]:
    """As many plans as asked for, or a few more, of runs whose tasks are too hard, right or easy, every third one with a teacher."""
    found: list[Judged] = []
    seed = first
    while len(found) < plans:
        rng = random.Random(seed)
        skill, ease = rng.uniform(-9.0, 3.0), rng.choice((6.0, 6.0, 0.0))
        climate = Climate(seed=seed, train=40, heldout=20, baseline=skill, ease=ease)
        teacher = ("teacher.model=large",) if seed % 3 == 2 else ()
        config = load([], [*SETTINGS, "rounds.bootstrap_solves=15", "rounds.easier_tasks=20", "rounds.limit=5", f"seed={seed}", *teacher])
        with tempfile.TemporaryDirectory(prefix="forge-world-") as folder:
            live(config, climate, {}, Path(folder), RecordingTracker())
            found += judged_easier(config, climate, Path(folder))
        seed += 1
    return found


def settings(climate: Climate) -> ForgeConfig:
    """The configuration of a made-up run."""
    return load([], [*SETTINGS, f"rounds.limit={ROUNDS_A_RUN}", f"seed={climate.seed}"])


def share(found: Sequence[Judged]) -> float:
    """Share of decisions that were right."""
    return sum(one.right for one in found) / len(found) if found else 1.0


def wrong(found: Sequence[Judged]) -> dict[str, int]:
    """Wrong decisions by what was planted and what was chosen."""
    return dict(Counter(f"{one.kind}: {one.planted} → {one.chosen}" for one in found if not one.right))


if __name__ == "__main__":
    main()
