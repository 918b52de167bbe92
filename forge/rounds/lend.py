"""Answers lent from one task to another: a success that provably solves a second task becomes a row under that task's prompt.

Several bugs planted in one function have one right end. Rollouts reach it from the easy ones; trained on those alone, a
model goes on to leave the others as they are. Hindsight in the sense of Andrychowicz et al., arXiv 1707.01495: what was
reached is taught as the answer to what would have been right to ask.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from forge.errors import StageError
from forge.records import Example, FileEdit, Outcome, Task, Trajectory, Turn
from forge.stages.edits import apply_edits, parse_edits
from forge.stages.source.symbols import symbols_of
from forge.stages.stage import example_from_turn, handed_in

Proof = Callable[[Task, Sequence[FileEdit]], str]
"""A name for all that a verdict depends on: tasks and edits with the same name get the same verdict."""
WorkTree = Callable[[Task], Mapping[str, str]]
"""Path and text of the Python files that a task starts from."""


def lent(trajectories: Iterable[Trajectory], tasks: Mapping[str, Task], proof: Proof, work_tree: WorkTree) -> list[Example]:
    """A generation row for each task without a success that another task's success solves; each task's first prompt, that success's answer.

    Nothing is taken on trust: the answer must apply to the second task's files, give the very edits that were graded, and
    have the same proof there.
    """
    solved: dict[str, list[Trajectory]] = defaultdict(list)
    tried: dict[str, list[Trajectory]] = defaultdict(list)
    for trajectory in sorted(trajectories, key=lambda t: t.id):
        tried[trajectory.task_id].append(trajectory)
        if trajectory.outcome is Outcome.SOLVED:
            solved[tasks[trajectory.task_id].tree].append(trajectory)
    done = {trajectory.task_id for found in solved.values() for trajectory in found}
    rows = []
    for task_id in sorted(set(tried) - done):
        task = tasks[task_id]
        near = [t for t in solved[task.tree] if tasks[t.task_id].files == task.files]
        right = [t for t in near if proof(tasks[t.task_id], t.edits) == proof(task, t.edits)]
        row = _row(task, tried[task_id], right, work_tree) if right else None
        if row is not None:
            rows.append(row)
    return rows


def _row(task: Task, tried: Sequence[Trajectory], right: Sequence[Trajectory], work_tree: WorkTree) -> Example | None:
    files = work_tree(task)
    for trajectory in tried:
        asked = _planned(trajectory, 0)
        if asked is None:
            continue
        for success in sorted(right, key=lambda success: _distance(files, success.edits)):
            answered = _planned(success, handed_in(success) or 0)
            if answered is not None and answered[0] == asked[0] and _gives(answered[1].text, asked[0], files, success.edits):
                prompt = next(turn for turn in trajectory.turns if turn.stage == "generation")  # not the one that mends an answer
                row = example_from_turn(prompt, trajectory, task, answered[1].completion_ids, answered[1].text)
                return row.model_copy(update={"lineage": row.lineage.model_copy(update={"lender_id": success.id})})
    return None


def _distance(files: Mapping[str, str], edits: Sequence[FileEdit]) -> int:
    """Lines that the edits change: of several right answers the nearest is the one to learn."""
    changed = 0
    for edit in edits:
        lines = difflib.ndiff(files.get(edit.path, "").splitlines(), (edit.content or "").splitlines())
        changed += sum(line[0] in "-+" for line in lines)
    return changed


def _planned(trajectory: Trajectory, attempt: int) -> tuple[tuple[str, ...], Turn] | None:
    """Keys of the symbols that an attempt's plan names, and its turn of generation."""
    turns = {turn.stage: turn for turn in trajectory.turns if turn.attempt == attempt}
    if "planning" not in turns or "generation" not in turns:
        return None
    return tuple(turns["planning"].subject.split("\n")), turns["generation"]


def _gives(text: str, keys: Sequence[str], files: Mapping[str, str], edits: Sequence[FileEdit]) -> bool:
    """Whether an answer about these symbols, applied to these files, gives exactly these edits."""
    paths = dict.fromkeys(key.partition("::")[0] for key in keys)
    known = {symbol.key: symbol for path in paths if path in files for symbol in symbols_of(path, files[path])}
    if not set(keys) <= known.keys():
        return False
    scopes = [known[key] for key in keys]
    try:
        made = apply_edits(parse_edits(text, scopes), files, scopes)
    except StageError:
        return False
    return {edit.path: edit.content for edit in made} == {edit.path: edit.content for edit in edits}
