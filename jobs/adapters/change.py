"""`forge adapters promote`, `rollback` and `gc`: what is served, and what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from forge.errors import WorkspaceError
from forge.store.promotions import go_back, unneeded
from jobs.adapters.opened import changing, meant

NEXT = "a forge serve that is up takes them over at once"


def promote(root: Path, names: Sequence[str], console: Console) -> None:
    """Promote versions, all or none. Raises `WorkspaceError` for two of one stage."""
    with changing(root) as store:
        ids = meant(store, names)
        stages = [model_id.partition("@")[0] for model_id in ids]
        if len(set(stages)) < len(stages):
            raise WorkspaceError(f"{', '.join(ids)} names two versions of one stage; one a stage can be promoted")
        store.promote([store.get(model_id) for model_id in ids])
        _print(store.ledger.promoted(), console)


def roll_back(root: Path, stage: str | None, number: int | None, console: Console) -> None:
    """Promote what stood before."""
    with changing(root) as store:
        _print(go_back(store, stage, number), console)


def clear_away(root: Path, keep: int, dry_run: bool, console: Console) -> None:
    """Remove what nothing needs, and say what and how much."""
    with changing(root) as store:
        freed = 0
        if not dry_run and (left := store.sweep()):
            console.print(f"  removed {left} unfinished folders of runs that were killed")
        gone = [one.ref.model_id for one in unneeded(store, store.ledger.rounds(), keep)]
        for model_id in gone:
            size = store.size(model_id) if dry_run else store.remove(model_id)
            console.print(f"  {'would remove' if dry_run else 'removed'} {model_id} ({size / 1e6:,.1f} MB)")
            freed += size
        console.print(f"{len(gone)} of {len(gone) * (not dry_run) + len(store.model_ids())} versions, {freed / 1e6:,.1f} MB")


def _print(promoted: Mapping[str, str], console: Console) -> None:
    console.print(f"promoted: {', '.join(promoted.values()) or 'nothing, so the base answers alone'}; {NEXT}", soft_wrap=True)
