"""What the ledger says about the rounds so far, as the decisions read it: results, not trajectories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from forge.records import STAGES, Decision, Outcome, Record, Result, RoundPlan, RoundReport, Spent
from forge.rounds.names import collecting, evaluating, second_look


class Book(Protocol):
    """The part of the ledger that decisions are made from."""

    def rounds(self) -> list[RoundReport]:
        """The reports of all finished rounds, in order."""

    def results(self, step: str) -> list[Result]:
        """How the rollouts of a step ended."""

    def is_done(self, step: str) -> bool:
        """Whether a step has all its rollouts."""

    def decisions(self, number: int | None = None) -> list[Decision]:
        """What was decided, of one round or of all."""


class Tally(Record):
    """Graded rollouts of one task in one round."""

    solved: int
    graded: int


class Past(Record):
    """The rounds so far. Held-out results are by step name, tallies of sampled training tasks by round."""

    rounds: tuple[RoundReport, ...]
    heldout: dict[str, dict[str, bool]]
    tallies: dict[int, dict[str, Tally]]
    again: dict[str, dict[str, Tally]] = {}
    """Held-out tasks of steps that were looked at again: all their rollouts, the greedy ones included."""
    soft: frozenset[str] = frozenset()
    """Training tasks that are graded without tests: solving them proves little."""
    refused: tuple[int, ...] = ()
    """Rounds whose training was refused for want of own solves."""
    own: dict[str, int] = {}
    """By stage, the training tasks solved on its own answers, as counted in the last round that sampled any."""
    spent: Spent = Spent()

    @property
    def next_round(self) -> int:
        return self.rounds[-1].round + 1 if self.rounds else 0

    @property
    def plans(self) -> list[RoundPlan]:
        return [report.plan for report in self.rounds if report.plan is not None]

    def promoted(self, after: int | None = None) -> str | None:
        """Name of the step whose adapters were promoted after a round (now, when not given); `None` before the first."""
        names = [
            report.step.name
            for report in self.rounds
            if report.step is not None and report.step.promoted and report.round >= 1 and (after is None or report.round <= after)
        ]
        return names[-1] if names else None

    def agent(self, after: int | None = None) -> dict[str, float | str]:
        """Settings of the agent after a round (now, when not given)."""
        found = [report.agent for report in self.rounds if after is None or report.round <= after]
        return found[-1] if found else {}

    def own_solves(self) -> int:
        """Different training tasks that the agent solved by itself in any round."""
        return len({task for tally in self.tallies.values() for task, counted in tally.items() if counted.solved} - self.soft)


def past_of(book: Book, heldout: Collection[str], spent: Spent, soft: Collection[str] = ()) -> Past:
    """The past of a run; `heldout` are task ids, and so are `soft`, the tasks that are graded without tests."""
    rounds = book.rounds()
    results: dict[str, dict[str, bool]] = {}
    again: dict[str, dict[str, Tally]] = {}
    for report in rounds:
        if report.step is not None:
            name = report.step.name
            greedy = [r for r in book.results(evaluating(name)) if r.task_id in heldout]
            results[name] = solved(greedy)
            if book.is_done(second_look(name)):  # half of a second look would be another one
                again[name] = tally([*greedy, *book.results(second_look(name))])
    last = rounds[-1].round if rounds else 0
    tallies = {number: tally(r for step in collecting(number) for r in book.results(step)) for number in range(2, last + 2)}
    decided = book.decisions()
    refused = tuple(decision.round for decision in decided if decision.name == "bootstrap" and decision.choice == "refused")
    own = [counted(decision) for decision in decided if decision.name in ("bootstrap", "stages") and decision.round <= last]
    return Past(
        rounds=tuple(rounds),
        heldout=results,
        again=again,
        soft=frozenset(soft),
        tallies={number: found for number, found in tallies.items() if found},
        refused=refused,
        own=own[-1] if own else {},
        spent=spent,
    )


def counted(decision: Decision) -> dict[str, int]:
    """The stages' numbers that a decision of `forge.rounds.bootstrap` rests on; none in those of before stages were counted."""
    return {stage: int(decision.figures[stage]) for stage in STAGES if stage in decision.figures}


def solved(results: Iterable[Result]) -> dict[str, bool]:
    """Whether each task was solved by its one greedy rollout; infrastructure errors are masked."""
    return {r.task_id: r.outcome is Outcome.SOLVED for r in results if r.outcome is not Outcome.INFRA_ERROR}


def tally(results: Iterable[Result]) -> dict[str, Tally]:
    """Graded rollouts by task; infrastructure errors are masked, agent errors count as not solved."""
    graded: Counter[str] = Counter()
    won: Counter[str] = Counter()
    for result in results:
        if result.outcome is not Outcome.INFRA_ERROR:
            graded[result.task_id] += 1
            won[result.task_id] += result.outcome is Outcome.SOLVED
    return {task: Tally(solved=won[task], graded=count) for task, count in graded.items()}


def rates(tallies: Mapping[str, Tally]) -> dict[str, float]:
    """Share of graded rollouts that solved each task."""
    return {task: counted.solved / counted.graded for task, counted in tallies.items()}
