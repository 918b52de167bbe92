"""`forge tasks import`: rows of a public set into a workspace, and a look at which of their images are here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from forge.errors import ConfigError, SandboxError
from forge.observe.progress import PhaseProgress, Progress
from forge.observe.screen import Screen
from forge.records import Instance
from forge.store.parquet import read_records, write_records
from forge.store.workspace import Workspace
from forge.tasks.public.load import Loaded, collect, load
from forge.tasks.public.sets import HARBOR, read_row, set_named
from jobs.tasks import tables
from jobs.tasks.sources import PUBLIC
from sandboxes.image_store import ImageStore


def import_into(source: str, into: Path, named: str | None, split: str, *, hub: bool, check: bool, pull: bool) -> int:
    """Exit code: 0, or 1 when no row was good."""
    console = Console(highlight=False)
    with Screen(console) as screen:
        progress = Progress(screen.line, every_s=1.0 if console.is_terminal else 10.0)
        loaded = _load(progress, source, named, split, hub=hub)
        if loaded.instances:
            with Workspace.open(into) as workspace:
                _store(workspace, loaded.instances)
        missing = images_missing(progress, loaded.instances, pull=pull) if check else None
    console.print(tables.imported(loaded.instances, missing))
    if loaded.refused:
        console.print(tables.reasons("refused", loaded.refused))
    for name in (missing or [])[: tables.MOST_SHOWN]:
        console.print(f"  to pull: {name}")
    if missing and len(missing) > tables.MOST_SHOWN:
        console.print(f"  and {len(missing) - tables.MOST_SHOWN} more")
    return 0 if loaded.instances else 1


def images_missing(progress: Progress, instances: Sequence[Instance], *, pull: bool) -> list[str]:
    """The images that the local engine lacks, in the order in which they are needed; pulled first when that is asked for.

    One that cannot be pulled is said, and stays missing. Registries tell how large an image is only when its pull has begun.
    """
    store = ImageStore()
    try:
        with progress.phase("images", "looking which are here") as phase:
            names = list(dict.fromkeys(instance.image for instance in instances))
            missing = store.missing(names)
            phase.result(f"{len(names) - len(missing)} of {len(names)} are here")
        return _pulled(store, progress, missing) if pull and missing else missing
    finally:
        store.close()


def _pulled(store: ImageStore, progress: Progress, names: Sequence[str]) -> list[str]:
    """Those of `names` that could not be pulled."""
    failed: list[str] = []
    fetched = 0
    with progress.phase("pull", f"{len(names)} images") as phase:
        phase.total(len(names), unit="images")
        for name in names:
            try:
                fetched += _pull(store, name, phase)
            except SandboxError as error:
                failed.append(name)
                progress.say(f"  {error}")
            phase.advance()
        phase.result(f"{len(names) - len(failed)} of {len(names)} images, {fetched / 2**30:.1f} GB")
    return failed


def _pull(store: ImageStore, name: str, phase: PhaseProgress) -> int:
    """Bytes fetched."""
    fetched = 0

    def told(done: int, total: int) -> None:
        nonlocal fetched
        fetched = done
        phase.now(f"{name} {done / 2**30:.2f} of {total / 2**30:.2f} GB")

    store.pull(name, told)
    return fetched


def _load(progress: Progress, source: str, named: str | None, split: str, *, hub: bool) -> Loaded:
    with progress.phase("import", source) as phase:

        def seen(rows: int) -> None:
            phase.now(f"{rows:,} rows")

        if hub:
            # The hub's client takes seconds to import, and most imports are of files.
            from forge.tasks.public.hub import hub_rows

            if named:
                set_named(named)
            if named == HARBOR:
                raise ConfigError("task folders of Harbor's do not come as rows; give the folder that they are in")
            loaded = collect(hub_rows(source, split), lambda row: read_row(row, named), seen=seen)
        else:
            loaded = load(Path(source), named, split, seen=seen)
        phase.result(f"{len(loaded.instances):,} instances, {sum(loaded.refused.values()):,} rows refused")
    return loaded


def _store(workspace: Workspace, instances: Sequence[Instance]) -> None:
    """Add to the files of their sets; an instance that is there already is replaced."""
    for name in sorted({instance.set for instance in instances}):
        path = workspace.tasks / PUBLIC / f"{name}.parquet"
        kept = {instance.id: instance for instance in (read_records(path, Instance) if path.exists() else [])}
        kept |= {instance.id: instance for instance in instances if instance.set == name}
        write_records(path, list(kept.values()), Instance)
