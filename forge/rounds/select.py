"""Which trajectories teach: rejection-sampling selection, and replay of earlier rounds."""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from forge.records import Example, Outcome, Preference, Record, Task, Trajectory
from forge.stages import REGISTRY
from forge.stages.stage import final_turns

ALIKE = 0.95
"""Patches whose changed lines are this alike are one success (difflib's ratio, 1 for the same)."""


class Selection(Record):
    """Rows by stage, and counts of what was left out, by reason."""

    rows: dict[str, list[Example]]
    solved_tasks: int
    kept: int
    dropped: dict[str, int]


def select(
    trajectories: Iterable[Trajectory],
    tasks: Mapping[str, Task],
    *,
    keep_per_task: int,
    repository_share: float = 1.0,
    soft_share: float = 0.0,
) -> Selection:
    """Rows of at most `keep_per_task` distinct successes a task, few repairs and few tokens first.

    Failures teach review alone, at most one a task and no more than successes do, so that its answers stay balanced.
    Two successes are distinct when they plan for other symbols or their patches differ by more than a few words: only the first of those
    alike is kept (SWE-Gym, arXiv 2412.21139, caps at two). Of several repositories none gives more than `repository_share` of them
    (Hybrid-Gym, arXiv 2602.16819, gains by spread), nor do tasks without tests give more than `soft_share`. A success whose grade is
    flagged for a reader teaches nothing.
    """
    dropped: Counter[str] = Counter()
    solved: dict[str, list[Trajectory]] = defaultdict(list)
    failed: dict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in trajectories:
        if tasks[trajectory.task_id].side != "train":
            raise ValueError(f"trajectory {trajectory.id} is of task {trajectory.task_id}, which is not a training task")
        if trajectory.outcome is Outcome.SOLVED and trajectory.verdict is not None and trajectory.verdict.flags:
            dropped["flagged"] += 1
        elif trajectory.outcome is Outcome.SOLVED:
            solved[trajectory.task_id].append(trajectory)
        elif trajectory.outcome is Outcome.FAILED:
            failed[trajectory.task_id].append(trajectory)
        else:
            dropped[trajectory.outcome.value] += 1
    kept = [t for task in sorted(solved) for t in _distinct(solved[task], keep_per_task, dropped)]
    kept = _spread(_few_soft(kept, tasks, soft_share, dropped), repository_share, dropped)
    rows: dict[str, list[Example]] = {name: [] for name in REGISTRY}
    for trajectory in kept:
        for name, stage in REGISTRY.items():
            rows[name] += stage.from_trajectory(trajectory, tasks[trajectory.task_id])
    wrong = _distinct_failures(failed, len(kept), dropped)
    for trajectory in wrong:
        rows["review"] += REGISTRY["review"].from_trajectory(trajectory, tasks[trajectory.task_id])
    return Selection(rows=rows, solved_tasks=len(solved), kept=len(kept), dropped=dict(dropped))


def with_replay(new: Sequence[Example], earlier: Sequence[Example], share: float, seed: int) -> list[Example]:
    """`new` and up to `share` times as many earlier rows, spread over tasks and commits by hash, never the same row twice."""
    present = {row.content_hash() for row in new}
    by_source: dict[str, list[Example]] = defaultdict(list)
    for row in earlier:
        if row.content_hash() not in present:
            by_source[row.lineage.task_id or row.lineage.commit or ""].append(row)
    wanted = round(share * len(new))
    picked: list[Example] = []
    turn = 0
    order = sorted(by_source, key=lambda source: hashlib.sha256(f"{seed}:{source}".encode()).hexdigest())
    while len(picked) < wanted and any(len(rows) > turn for rows in by_source.values()):
        picked += [by_source[source][turn] for source in order if len(by_source[source]) > turn]
        turn += 1
    return [*new, *picked[:wanted]]


def leaked(rows: Iterable[Example | Preference], heldout: Collection[Task]) -> list[str]:
    """What of held-out tasks is found in training rows: their ids, commits, files or gold text. Empty when clean."""
    ids = {task.id for task in heldout}
    commits = {(task.repo, task.commit) for task in heldout if task.commit}
    files = {(task.repo, path) for task in heldout for path in task.files}
    found = []
    for row in rows:
        line = row.lineage
        if line.task_id in ids:
            found.append(f"task {line.task_id}")
        if (line.repo, line.commit) in commits:
            found.append(f"commit {line.commit}")
        text = "\n".join(message.content for message in row.messages)
        found += [f"file {path}" for repo, path in files if repo == line.repo and (path in line.files or f"{path}::" in text)]
    return found


def _distinct(found: list[Trajectory], limit: int, dropped: Counter[str]) -> list[Trajectory]:
    best: list[Trajectory] = []
    for trajectory in sorted(found, key=lambda t: (t.repairs, t.completion_tokens, t.id)):
        if any(_alike(trajectory, other) for other in best):
            dropped["like another success"] += 1
        elif len(best) >= limit:
            dropped["over keep_per_task"] += 1
        else:
            best.append(trajectory)
    return best


def _alike(one: Trajectory, other: Trajectory) -> bool:
    """The same plan, and changed lines that differ by less than a twentieth of their characters."""
    if _planned(one) != _planned(other):
        return one.patch == other.patch
    return difflib.SequenceMatcher(None, _changed(one.patch), _changed(other.patch), autojunk=False).ratio() > ALIKE


def _changed(patch: str) -> str:
    lines = patch.splitlines()
    return "\n".join(line for line in lines if line[:1] in ("+", "-") and not line.startswith(("+++ ", "--- ")))


def _planned(trajectory: Trajectory) -> tuple[str, ...]:
    return tuple(turn.subject for turn in final_turns(trajectory, "planning"))


def _few_soft(kept: list[Trajectory], tasks: Mapping[str, Task], share: float, dropped: Counter[str]) -> list[Trajectory]:
    """The successes without those by which soft tasks exceed their share of all that remain, tasks chosen by hash."""
    soft = sorted((t for t in kept if tasks[t.task_id].soft), key=lambda t: hashlib.sha256(t.id.encode()).hexdigest())
    most = round(share / (1 - share) * (len(kept) - len(soft)))
    dropped["over soft_share"] += len(soft[most:])
    gone = {trajectory.id for trajectory in soft[most:]}
    return [trajectory for trajectory in kept if trajectory.id not in gone]


def _spread(kept: list[Trajectory], share: float, dropped: Counter[str]) -> list[Trajectory]:
    """The successes without those by which one repository exceeds its share of all that remain; one repository alone keeps all."""
    by_repo: dict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in kept:
        by_repo[trajectory.repo].append(trajectory)
    largest = max(by_repo, key=lambda repo: len(by_repo[repo]), default="")
    others = len(kept) - len(by_repo[largest])
    most = round(share / (1 - share) * others) if share < 1 and others else len(kept)
    surplus = by_repo[largest][most:]
    dropped["over repository_share"] += len(surplus)
    gone = {trajectory.id for trajectory in surplus}
    return [trajectory for trajectory in kept if trajectory.id not in gone]


def _distinct_failures(failed: Mapping[str, list[Trajectory]], limit: int, dropped: Counter[str]) -> list[Trajectory]:
    firsts = [min(failed[task], key=lambda t: t.id) for task in sorted(failed)]
    dropped["failed"] += sum(map(len, failed.values())) - min(limit, len(firsts))
    return firsts[:limit]
