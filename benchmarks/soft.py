"""How far a grade without tests agrees with one by tests: overlap with the gold change, on the rollouts of a finished workspace.

Every graded rollout has a verdict by tests; the overlap of its patch with the task's gold change is reckoned beside it, at several
thresholds of line-level recall.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from forge.exam.overlap import Overlap, overlap
from forge.records import Outcome, Task, Trajectory
from forge.store.ledger import Ledger
from forge.store.parquet import read_records
from forge.store.trees import TreeStore
from forge.store.workspace import Workspace


def main() -> None:
    """Print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.25, 0.5, 0.75, 1.0])
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    given = parser.parse_args()
    found = list(graded(Workspace(given.workspace)))
    solved = sum(right for _, right in found)
    print(f"  {len(found)} graded rollouts, {solved} solved by tests")
    print(f"  {'recall at least':>16}{'passes':>9}{'of those solved':>17}{'of solved, passes':>19}")
    figures = []
    for threshold in given.thresholds:
        passed = [right for one, right in found if one.changed and one.lines >= threshold and one.symbols >= 0.5]
        precision, recall = sum(passed) / max(1, len(passed)), sum(passed) / max(1, solved)
        figures.append({"threshold": threshold, "passes": len(passed), "precision": precision, "recall": recall})
        print(f"  {threshold:>16.2f}{len(passed):>9}{precision:>17.0%}{recall:>19.0%}")
    if given.json:
        given.json.write_text(json.dumps({"rollouts": len(found), "solved": solved, "at": figures}, indent=1) + "\n", encoding="utf-8")


def graded(workspace: Workspace) -> Iterator[tuple[Overlap, bool]]:
    """The overlap of each graded rollout's patch with gold, and whether the tests passed."""
    tasks = {task.id: task for task in read_records(workspace.tasks / "tasks.parquet", Task)}
    trees = TreeStore(workspace.trees)
    with Ledger(workspace.ledger) as ledger:
        for step in ledger.steps():
            for trajectory in ledger.trajectories(step):
                if trajectory.outcome in (Outcome.SOLVED, Outcome.FAILED) and not tasks[trajectory.task_id].soft:
                    yield _overlap(tasks[trajectory.task_id], trajectory, trees), trajectory.outcome is Outcome.SOLVED


def _overlap(task: Task, trajectory: Trajectory, trees: TreeStore) -> Overlap:
    setup = {edit.path: edit.content for edit in task.setup}
    folder = trees.folder(task.tree)

    def before(path: str) -> str | None:
        if path in setup:
            return setup[path]
        place = folder / path
        return place.read_text(encoding="utf-8", errors="replace") if place.is_file() else None

    gold, made = ({edit.path: edit.content for edit in edits} for edits in (task.gold, trajectory.edits))
    return overlap({path: before(path) for path in gold.keys() | made.keys()}, gold, made)


if __name__ == "__main__":
    main()
