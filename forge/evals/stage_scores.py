"""How good each stage was on its own, measured against what the gold change touches.

| score | over | is |
|---|---|---|
| analysis_recall | rollouts | touched symbols that the first analysis names |
| analysis_file_recall | rollouts | touched files that it names |
| relevance_accuracy | judged symbols | yes for touched, no for others |
| relevance_ap | rollouts that judge a touched symbol | average precision of the scores |
| planning_agreement | rollouts with a first plan | it edits exactly the touched symbols |
| generation_apply_rate | generation turns | edits that parse and fit the tree |
| review_auc | graded rollouts | chance that a right patch scores above a wrong one |

A score that nothing was measured for is left out, never zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from forge.records import Outcome, Record, Task, Trajectory, Turn
from forge.stages.source.symbols import symbols_of

Score = Callable[[Sequence[Trajectory], Mapping[str, "Truth"]], float | None]


class Truth(Record):
    """What the gold change of one task touches: files, and keys (`path::name`) of symbols that existed before."""

    files: frozenset[str]
    symbols: frozenset[str]


def truth_of(task: Task, tree: Mapping[str, bytes]) -> Truth:
    """The truth of a task; `tree` is the snapshot `task.tree`, whose files `task.setup` replaces."""
    before = {path: content.decode("utf-8", "replace") for path, content in tree.items()}
    before |= {edit.path: edit.content or "" for edit in task.setup}
    symbols: set[str] = set()
    for edit in task.gold:
        old = {symbol.key: symbol.source for symbol in symbols_of(edit.path, before.get(edit.path, ""))}
        new = {symbol.key: symbol.source for symbol in symbols_of(edit.path, edit.content or "")}
        symbols |= {key for key, source in old.items() if new.get(key) != source}
    return Truth(files=frozenset(edit.path for edit in task.gold), symbols=frozenset(symbols))


def stage_scores(trajectories: Iterable[Trajectory], truths: Mapping[str, Truth]) -> dict[str, float]:
    """Every score that can be measured. Infrastructure errors and tasks without a truth are left out."""
    usable = [item for item in trajectories if item.outcome is not Outcome.INFRA_ERROR and item.task_id in truths]
    found = {name: score(usable, truths) for name, score in SCORES.items()}
    return {name: value for name, value in found.items() if value is not None}


def average_precision(labels: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Mean precision at each relevant item, best score first; among equal scores irrelevant ones come first."""
    if not any(labels):
        return None
    ranked = sorted(zip(scores, labels, strict=True), key=lambda pair: (-pair[0], pair[1]))
    hits = [rank for rank, (_, label) in enumerate(ranked, start=1) if label]
    return sum((index + 1) / rank for index, rank in enumerate(hits)) / len(hits)


def auc(positives: Sequence[float], negatives: Sequence[float]) -> float | None:
    """Chance that a positive scores above a negative, ties counting half; `None` without both kinds."""
    if not positives or not negatives:
        return None
    wins = sum((high > low) + 0.5 * (high == low) for high in positives for low in negatives)
    return wins / (len(positives) * len(negatives))


def _turns(trajectory: Trajectory, stage: str) -> list[Turn]:
    return [turn for turn in trajectory.turns if turn.stage == stage]


def _first(trajectory: Trajectory, stage: str) -> Turn | None:
    return next(iter(_turns(trajectory, stage)), None)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _analysis_recall(trajectories: Sequence[Trajectory], truths: Mapping[str, Truth]) -> float | None:
    def recall(item: Trajectory) -> float | None:
        turn, wanted = _first(item, "analysis"), truths[item.task_id].symbols
        return None if turn is None or not wanted else len(wanted & _named(turn)) / len(wanted)

    return _mean(map(recall, trajectories))


def _analysis_file_recall(trajectories: Sequence[Trajectory], truths: Mapping[str, Truth]) -> float | None:
    def recall(item: Trajectory) -> float | None:
        turn, wanted = _first(item, "analysis"), truths[item.task_id].files
        return None if turn is None or not wanted else len(wanted & {key.split("::")[0] for key in _named(turn)}) / len(wanted)

    return _mean(map(recall, trajectories))


def _relevance_accuracy(trajectories: Sequence[Trajectory], truths: Mapping[str, Truth]) -> float | None:
    return _mean(
        float((turn.score >= 0.5) == (turn.subject in truths[item.task_id].symbols))
        for item in trajectories
        for turn in _turns(item, "relevance")
        if turn.score is not None
    )


def _relevance_ap(trajectories: Sequence[Trajectory], truths: Mapping[str, Truth]) -> float | None:
    def precision(item: Trajectory) -> float | None:
        scored = {turn.subject: turn.score for turn in reversed(_turns(item, "relevance")) if turn.score is not None}
        return average_precision([subject in truths[item.task_id].symbols for subject in scored], list(scored.values()))

    return _mean(map(precision, trajectories))


def _planning_agreement(trajectories: Sequence[Trajectory], truths: Mapping[str, Truth]) -> float | None:
    def agrees(item: Trajectory) -> float | None:
        turn, wanted = _first(item, "planning"), truths[item.task_id].symbols
        return None if turn is None or not wanted else float(_named(turn) == wanted)

    return _mean(map(agrees, trajectories))


def _generation_apply_rate(trajectories: Sequence[Trajectory], _: Mapping[str, Truth]) -> float | None:
    return _mean(float(turn.parsed) for item in trajectories for turn in _turns(item, "generation"))


def _review_auc(trajectories: Sequence[Trajectory], _: Mapping[str, Truth]) -> float | None:
    scores: dict[Outcome, list[float]] = {Outcome.SOLVED: [], Outcome.FAILED: []}
    for item in trajectories:
        if item.review_score is not None and item.outcome in scores:
            scores[item.outcome].append(item.review_score)
    return auc(scores[Outcome.SOLVED], scores[Outcome.FAILED])


def _named(turn: Turn) -> set[str]:
    """Symbol keys that the answer of an analysis or a plan names."""
    return set(turn.subject.splitlines())


SCORES: Mapping[str, Score] = {
    "analysis_recall": _analysis_recall,
    "analysis_file_recall": _analysis_file_recall,
    "relevance_accuracy": _relevance_accuracy,
    "relevance_ap": _relevance_ap,
    "planning_agreement": _planning_agreement,
    "generation_apply_rate": _generation_apply_rate,
    "review_auc": _review_auc,
}
