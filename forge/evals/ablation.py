"""An adapter for each stage, one for all stages, or none: what the same rows come to in each, and what may be said of it.

Each arm but the bare base is trained anew for each seed; the tasks are the same for all. Comparisons are paired over tasks, a task's
seeds taken together, and corrected by Holm for how many there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

from forge.evals.intervals import wilson
from forge.evals.paired import compare, compare_rates
from forge.records import Interval, Record, StepReport

Side = Literal["heldout", "transfer"]
SIDES: tuple[Side, ...] = ("heldout", "transfer")
BASE, PER_STAGE, TUNED, COMBINED, MATCHED = "base", "per-stage", "per-stage-tuned", "combined", "combined-matched"
ARMS = (PER_STAGE, TUNED, COMBINED, MATCHED, BASE)
"""In the order in which the first of two is set against the second."""
NAMES = {
    BASE: "the base alone",
    PER_STAGE: "an adapter for each stage",
    TUNED: "an adapter for each stage, its rate looked for too",
    COMBINED: "one adapter for all stages",
    MATCHED: "one adapter with as many parameters as the stages' together",
}
SIGNIFICANT = 0.05


class Trained(Record):
    """What the adapters of one arm were made of, those of all stages added up."""

    rows: int
    """Rows that training took, each as often as it took it."""
    distinct_rows: int
    tokens: int
    """Prompt and answer tokens of these rows."""
    answer_tokens: int
    """Those that the loss sees."""
    steps: int
    """Optimizer steps."""
    parameters: int
    """Weights of the adapters."""
    ranks: dict[str, int]
    learning_rates: dict[str, float]
    seconds: float

    def taken(self) -> tuple[int, int, int, int, int]:
        """What has to be the same in every arm of a seed."""
        return self.rows, self.distinct_rows, self.tokens, self.answer_tokens, self.steps


class Run(Record):
    """One arm trained with one seed, evaluated."""

    seed: int
    heldout: StepReport
    transfer: StepReport | None = None
    trained: Trained | None = None
    """`None` for the bare base."""


class Share(Record):
    """Share of tasks solved, the mean over seeds; the interval is over tasks, as if each had been tried once: never too narrow."""

    solved: float
    ci95: Interval
    tasks: int


class Arm(Record):
    """All seeds of one way to train."""

    name: str
    about: str
    runs: tuple[Run, ...]
    heldout: Share
    transfer: Share | None = None


class Contrast(Record):
    """One arm against another on the same tasks. `difference` is first minus second, in share of tasks solved."""

    first: str
    second: str
    side: Side
    tasks: int
    seeds: int
    difference: float
    ci95: Interval
    p: float
    p_holm: float
    """Corrected for the comparisons on this side."""
    by_seed: tuple[float, ...]
    """The difference of each seed by itself."""

    @property
    def proven(self) -> bool:
        """Whether a difference of this sign may be claimed."""
        return self.p_holm < SIGNIFICANT


class Ablation(Record):
    """Everything that an ablation found; `ablation.json` is this record."""

    name: str
    rows_of: str
    """The step of the run whose rows were trained on."""
    base: str
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    contrasts: tuple[Contrast, ...]
    verdict: tuple[str, ...]
    """Sentences."""
    tuned: dict[str, str] = {}
    """How the learning rate of an arm was chosen, where it was."""
    untaught: tuple[str, ...] = ()
    """Stages whose rows teach nothing: the base answers for them in every arm."""
    outcomes: dict[str, dict[str, int]] = {}
    """Rollouts by arm and outcome."""
    wall_s: float = 0.0
    phase_s: dict[str, float] = {}
    hardware: str = ""
    sandbox: str = ""
    forge: str = ""
    finished: str = ""

    def arm(self, name: str) -> Arm | None:
        """An arm by its name."""
        return next((arm for arm in self.arms if arm.name == name), None)


Solved = Mapping[str, bool]
"""Whether each task was solved, in one run."""


def share(runs: Sequence[Solved]) -> Share:
    """The share that several runs solve of the same tasks; raises `ValueError` without any result."""
    rates = rates_of(runs)
    if not rates:
        raise ValueError("no task has a result")
    solved = sum(rates.values())
    return Share(solved=solved / len(rates), ci95=wilson(solved, len(rates)), tasks=len(rates))


def rates_of(runs: Sequence[Solved]) -> dict[str, float]:
    """The share of runs in which each task was solved, of those that have a result for it."""
    tasks = sorted({task for run in runs for task in run})
    return {task: sum(run[task] for run in runs if task in run) / sum(task in run for run in runs) for task in tasks}


def contrasts(results: Mapping[str, Sequence[Solved]], side: Side, *, seed: int) -> list[Contrast]:
    """Every two of the arms compared. `results` holds the runs of each arm by seed; the base's single one stands for all seeds.

    One seed: exact McNemar. Several: sign flips of the tasks' mean differences (`forge.evals.paired`).
    """
    found = [_contrast(first, second, results, side, seed) for first, second in combinations([a for a in ARMS if a in results], 2)]
    corrected = holm([one.p for one in found])
    return [one.model_copy(update={"p_holm": p}) for one, p in zip(found, corrected, strict=True)]


def holm(ps: Sequence[float]) -> list[float]:
    """The p values, in their order, corrected for their number (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    corrected = [0.0] * len(ps)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = highest
    return corrected


def unequal(runs: Mapping[str, Trained]) -> str:
    """What arms of one seed were not given alike, in a sentence; empty when they were."""
    taken = {name: trained.taken() for name, trained in runs.items()}
    if len(set(taken.values())) <= 1:
        return ""
    told = "; ".join(
        f"{name}: {rows} rows, {distinct} of them distinct, {tokens} tokens, {answers} of answers, {steps} steps"
        for name, (rows, distinct, tokens, answers, steps) in taken.items()
    )
    return f"the arms did not see the same rows as often, so nothing can be compared ({told})"


def verdict(arms: Sequence[Arm], found: Sequence[Contrast]) -> tuple[str, ...]:
    """What the held-out tasks say, in a few sentences that claim no more than the corrected tests allow."""
    heldout = {(one.first, one.second): one for one in found if one.side == "heldout"}
    shares = {arm.name: arm.heldout.solved for arm in arms}
    asked = [(first, second) for first in (PER_STAGE, TUNED) for second in (COMBINED, MATCHED)]
    sentences = [_told(heldout[pair], shares) for pair in asked if pair in heldout]
    above = [one for (_, second), one in heldout.items() if second == BASE]
    better = [NAMES[one.first] for one in above if one.proven and one.difference > 0]
    rest = [NAMES[one.first] for one in above if not (one.proven and one.difference > 0)]
    if better and not rest:
        sentences.append("Each is proven better than the base alone.")
    elif above:
        sentences.append(f"Not proven better than the base alone: {', '.join(rest)}.")
    return tuple(sentences)


def _told(one: Contrast, shares: Mapping[str, float]) -> str:
    first, second = (f"{NAMES[name]} ({_percent(shares[name])})" for name in (one.first, one.second))
    low, high = one.ci95.low, one.ci95.high
    tested = f"corrected p = {one.p_holm:.2g}, {one.tasks} tasks, {_seeds(one)}"
    if not one.proven:
        points = f"{100 * one.difference:+.1f} points (95 %: {100 * low:+.1f} to {100 * high:+.1f}, {tested})"
        return f"No difference is proven between {first} and {second}: {points}."
    if one.difference < 0:
        first, second, low, high = second, first, -high, -low
    points = f"{100 * abs(one.difference):.1f} points more held-out tasks"
    interval = f"95 %: {100 * low:+.1f} to {100 * high:+.1f}"
    return f"{first[0].upper()}{first[1:]} solves {points} than {second} ({interval}, {tested})."


def _seeds(one: Contrast) -> str:
    if one.seeds == 1:
        return "one training seed"
    alike = sum(value * one.difference > 0 for value in one.by_seed)
    return f"{alike} of {one.seeds} training seeds the same way"


def _contrast(first: str, second: str, results: Mapping[str, Sequence[Solved]], side: Side, seed: int) -> Contrast:
    ones, others = results[first], results[second]
    seeds = max(len(ones), len(others))
    single = len(ones) == len(others) == 1
    found = compare(others[0], ones[0], seed=seed) if single else compare_rates(rates_of(others), rates_of(ones), seed=seed)
    pairs = [(ones[min(at, len(ones) - 1)], others[min(at, len(others) - 1)]) for at in range(seeds)]
    return Contrast(
        first=first,
        second=second,
        side=side,
        tasks=found.tasks,
        seeds=seeds,
        difference=found.difference,
        ci95=found.ci95,
        p=found.p,
        p_holm=found.p,
        by_seed=tuple(_difference(one, other) for one, other in pairs),
    )


def _difference(one: Solved, other: Solved) -> float:
    both = one.keys() & other.keys()
    return sum(one[task] - other[task] for task in both) / len(both) if both else 0.0


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
