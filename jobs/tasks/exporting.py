"""`forge tasks export`: tasks as rows of SWE-bench 5, as Harbor's folders or as rows of their own set; rollouts as predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from forge.errors import ConfigError, TaskError
from forge.observe.progress import PhaseProgress, Progress
from forge.observe.screen import Screen
from forge.records import Instance, Task, Trajectory
from forge.store import atomic
from forge.store.parquet import read_trajectories
from forge.store.workspace import Workspace
from forge.tasks.public.export import Base, base_of, context, export, work_tree
from forge.tasks.public.harbor import files_of
from forge.tasks.public.harbor_export import harbor_instance
from forge.tasks.public.predictions import predictions
from forge.tasks.public.save import save, save_folder, save_rows
from forge.tasks.public.sets import HARBOR, write_row
from forge.tasks.public.swe_bench import WORKDIR, version_5_row
from jobs.tasks import tables
from jobs.tasks.sources import Source, read_source
from sandboxes.image_store import ImageStore

FORMATS = ("swe-bench", "harbor", "predictions", "rows")


def export_to(source: Path, output: Path, to: str, base: str | None, *, build: bool, step: str | None, sample: int, model: str) -> int:
    """Exit code: 0, or 1 when nothing could be exported."""
    if to not in FORMATS:
        raise ConfigError(f"there is no format {to}; give --to {', '.join(FORMATS)}")
    console = Console(highlight=False)
    found = read_source(source)
    with Screen(console) as screen:
        progress = Progress(screen.line, every_s=1.0 if console.is_terminal else 10.0)
        with progress.phase("export", f"{to} to {output}") as phase:
            if to == "predictions":
                number, refused = _predictions(source, found, output, step, sample, model), Counter[str]()
            elif to == "rows":
                number, refused = save(output, found.instances), Counter({"a task of forge's own has no rows": len(found.tasks)})
            else:
                number, refused = _Exporter(found, output, base, phase, build=build).run(to)
            phase.result(f"{number} to {output}")
    if refused.total():
        console.print(tables.reasons("left out", +refused))
    return 0 if number else 1


class _Exporter:
    """Exports one source's tasks and instances, each at a time."""

    def __init__(self, source: Source, output: Path, base: str | None, phase: PhaseProgress, *, build: bool) -> None:
        self._source, self._output, self._base, self._phase = source, output, base, phase
        self._store = ImageStore() if build else None
        self._contexts = output.with_name(f"{output.stem}-images")
        self._refused: Counter[str] = Counter()

    def run(self, to: str) -> tuple[int, Counter[str]]:
        """(how many were exported, what was left out by reason)."""
        try:
            self._phase.total(len(self._source.tasks) + len(self._source.instances), unit="tasks")
            number = self._harbor() if to == "harbor" else self._swe_bench()
        finally:
            if self._store is not None:
                self._store.close()
        return number, self._refused

    def _swe_bench(self) -> int:
        rows = [_row(instance) for instance in self._source.instances if self._fits(instance)]
        for task in self._source.tasks:
            files = self._files(task)
            try:
                base = self._base_of(task)
                made = export(task, files, base=base)
            except TaskError as error:
                self._refused[str(error)] += 1
            else:
                rows.append(_row(made))
                self._image(made.image, context(work_tree(task, files), base))
            self._phase.advance(now=task.id)
        return save_rows(self._output, rows) if rows else 0

    def _harbor(self) -> int:
        folders: dict[str, Instance] = {instance.id: instance for instance in self._source.instances if instance.set == HARBOR}
        self._refused["a set with images of its own has no folders"] += len(self._source.instances) - len(folders)
        for task in self._source.tasks:
            try:
                folders[task.id] = harbor_instance(task, self._files(task), base=self._base_of(task))
            except TaskError as error:
                self._refused[str(error)] += 1
            self._phase.advance(now=task.id)
        for name, instance in folders.items():
            save_folder(self._output / name, files_of(instance))
            if self._store is not None:
                self._store.build(instance.image, environment(instance))
        return len(folders)

    def _image(self, name: str, files: Mapping[str, bytes]) -> None:
        for path, content in files.items():
            atomic.write_bytes(self._contexts / name.replace(":", "-") / path, content)
        if self._store is not None and self._store.identity(name) is None:
            self._store.build(name, files)

    def _fits(self, instance: Instance) -> bool:
        """Whether SWE-bench 5 has a place for all that the instance is."""
        reason = "its start is not its image's" if instance.bug_patch else ""
        reason = reason or ("" if instance.log_parser else "it is not graded by a log")
        reason = reason or ("" if instance.workdir == WORKDIR else f"its repository is not at {WORKDIR}")
        self._refused[reason] += bool(reason)
        return not reason

    def _base_of(self, task: Task) -> Base:
        """Raises `TaskError` when nothing says what its environment was."""
        if task.environment and task.environment not in self._source.listed:
            raise TaskError("its environment is not listed beside it")
        return base_of(self._source.listed.get(task.environment), self._base)

    def _files(self, task: Task) -> dict[str, bytes]:
        assert self._source.trees is not None
        return self._source.trees.files(task.tree)


def _row(instance: Instance) -> Mapping[str, Any]:
    return write_row(instance) if instance.set == "swe-bench-5" else version_5_row(instance)


def environment(instance: Instance) -> dict[str, bytes]:
    """The build context of a Harbor folder."""
    return {path.removeprefix("environment/"): file.content for path, file in files_of(instance).items() if path.startswith("environment/")}


def _predictions(source: Path, found: Source, output: Path, step: str | None, sample: int, model: str) -> int:
    if found.trees is None:
        raise ConfigError(f"{source} is no workspace; predictions are made of the rollouts in one")
    rollouts = _rollouts(Workspace(source), step)
    made = predictions(rollouts, {task.id: task for task in found.tasks}, found.trees.files, model=model, sample=sample)
    return save_rows(output, [prediction.model_dump() for prediction in made])


def _rollouts(workspace: Workspace, step: str | None) -> Sequence[Trajectory]:
    """The rollouts of a step, of the last round's last one when none is named."""
    found = (workspace.root / "rounds").glob("*/trajectories/*.parquet")
    files = {path.stem: path for path in sorted(found, key=lambda path: (int(path.parts[-3]), path.stat().st_mtime))}
    if not files:
        raise ConfigError(f"{workspace.root} holds no rollouts yet")
    if step is not None and step not in files:
        raise ConfigError(f"there is no step {step}; there are {', '.join(files)}")
    return read_trajectories(files[step] if step else list(files.values())[-1])
