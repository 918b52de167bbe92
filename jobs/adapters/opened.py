"""The adapters of a run's workspace, to read or, under its lock, to change; and which version a person means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from forge.errors import WorkspaceError
from forge.store.adapters import FolderAdapterStore
from forge.store.ledger import Ledger
from forge.store.workspace import Workspace

ALL = "all"


@contextmanager
def reading(root: Path) -> Iterator[FolderAdapterStore]:
    """The adapters of a workspace, which a run may have open. Raises `WorkspaceError` for a folder that is none."""
    workspace = _existing(root)
    with Ledger(workspace.ledger) as ledger:
        yield FolderAdapterStore(workspace.adapters, ledger)


@contextmanager
def changing(root: Path) -> Iterator[FolderAdapterStore]:
    """The adapters of a workspace that no run has open. Raises `WorkspaceError` for one that is in use."""
    _existing(root)
    with Workspace.open(root) as workspace, Ledger(workspace.ledger) as ledger:
        yield FolderAdapterStore(workspace.adapters, ledger)


def meant(store: FolderAdapterStore, names: Sequence[str]) -> list[str]:
    """Model ids of versions, of stages (their promoted one) and of `all` (every promoted one).

    Raises `WorkspaceError` with the known ones for a name that means nothing.
    """
    promoted = store.ledger.promoted()
    if list(names) == [ALL]:
        if not promoted:
            raise WorkspaceError(f"nothing is promoted; name versions: {_known(store)}")
        return list(promoted.values())
    return [_one(store, name, promoted.get(name)) for name in names]


def _one(store: FolderAdapterStore, name: str, promoted: str | None) -> str:
    known = store.model_ids()
    if "@" in name:
        if name in known:
            return name
        raise WorkspaceError(f"there is no version {name}; there are: {_known(store)}")
    if promoted is not None:
        return promoted
    if any(model_id.startswith(f"{name}@") for model_id in known):
        raise WorkspaceError(f"no version of {name} is promoted; name one: {_known(store, name)}")
    stages = ", ".join(sorted({model_id.partition("@")[0] for model_id in known})) or "none"
    raise WorkspaceError(f"there are no adapters of a stage {name}; stages that have some: {stages}")


def _known(store: FolderAdapterStore, stage: str | None = None) -> str:
    return ", ".join(name for name in store.model_ids() if stage is None or name.startswith(f"{stage}@")) or "none"


def _existing(root: Path) -> Workspace:
    workspace = Workspace(root)
    if not workspace.ledger.is_file():
        raise WorkspaceError(f"{root} holds no run of forge; give the folder of one, such as workspace/quickstart")
    return workspace
