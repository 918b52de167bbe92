"""Which trajectories teach: rejection-sampling selection, and replay of earlier rounds."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from forge.records import Example, Outcome, Record, Task, Trajectory
from forge.stages import REGISTRY


class Selection(Record):
    """Rows by stage, and counts of what was left out, by reason."""

    rows: dict[str, list[Example]]
    solved_tasks: int
    kept: int
    dropped: dict[str, int]


def select(trajectories: Iterable[Trajectory], tasks: Mapping[str, Task], *, keep_per_task: int) -> Selection:
    """Rows of at most `keep_per_task` distinct successes a task, few repairs and few tokens first.

    Failures teach review alone, at most one a task and no more than successes do, so that its answers stay balanced.
    Two successes with the same patch are one: only the first is kept (SWE-Gym, arXiv 2412.21139, caps at two).
    """
    dropped: Counter[str] = Counter()
    solved: dict[str, list[Trajectory]] = defaultdict(list)
    failed: dict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in trajectories:
        if tasks[trajectory.task_id].side != "train":
            raise ValueError(f"trajectory {trajectory.id} is of task {trajectory.task_id}, which is not a training task")
        if trajectory.outcome is Outcome.SOLVED:
            solved[trajectory.task_id].append(trajectory)
        elif trajectory.outcome is Outcome.FAILED:
            failed[trajectory.task_id].append(trajectory)
        else:
            dropped[trajectory.outcome.value] += 1
    kept = [t for task in sorted(solved) for t in _distinct(solved[task], keep_per_task, dropped)]
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


def retired(steps: Iterable[Iterable[Trajectory]], share: float) -> set[str]:
    """Tasks of which at least `share` of the samples were solved in the last of `steps` that sampled them."""
    solved: dict[str, list[bool]] = {}
    for step in steps:
        latest: dict[str, list[bool]] = defaultdict(list)
        for trajectory in step:
            latest[trajectory.task_id].append(trajectory.outcome is Outcome.SOLVED)
        solved |= latest
    return {task for task, outcomes in solved.items() if sum(outcomes) >= share * len(outcomes)}


def leaked(rows: Iterable[Example], heldout: Collection[Task]) -> list[str]:
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
    best: dict[str, Trajectory] = {}
    for trajectory in sorted(found, key=lambda t: (t.repairs, t.completion_tokens, t.id)):
        if trajectory.patch in best:
            dropped["same patch"] += 1
        elif len(best) >= limit:
            dropped["over keep_per_task"] += 1
        else:
            best[trajectory.patch] = trajectory
    return list(best.values())


def _distinct_failures(failed: Mapping[str, list[Trajectory]], limit: int, dropped: Counter[str]) -> list[Trajectory]:
    firsts = [min(failed[task], key=lambda t: t.id) for task in sorted(failed)]
    dropped["failed"] += sum(map(len, failed.values())) - min(limit, len(firsts))
    return firsts[:limit]
