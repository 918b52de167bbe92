"""Trajectories → predictions as swebench's harness takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from forge.errors import TaskError
from forge.records import Record, Task, Trajectory
from forge.tasks.public.export import patch_of, work_tree


class Prediction(Record):
    """One line of a predictions file."""

    instance_id: str
    model_name_or_path: str
    model_patch: str


def predictions(
    trajectories: Iterable[Trajectory],
    tasks: Mapping[str, Task],
    files: Callable[[str], Mapping[str, bytes]],
    *,
    model: str,
    sample: int = 0,
) -> list[Prediction]:
    """One prediction a task: of the rollout number `sample`, the last one there is. A rollout without edits predicts none.

    The patch is made anew from the edits, against the work tree. `files` gives a tree by its hash. Raises `TaskError` for a
    trajectory whose task is not among `tasks`.
    """
    found: dict[str, Prediction] = {}
    for trajectory in trajectories:
        if trajectory.sample != sample:
            continue
        task = tasks.get(trajectory.task_id)
        if task is None:
            raise TaskError(f"there is no task {trajectory.task_id} for trajectory {trajectory.id}; give the workspace that it is from")
        patch = patch_of(work_tree(task, files(task.tree)), trajectory.edits)
        found[task.id] = Prediction(instance_id=task.id, model_name_or_path=model, model_patch=patch)
    return list(found.values())
