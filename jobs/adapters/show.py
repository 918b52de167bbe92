"""`forge adapters list`, `show` and `history`: what there is, in the terminal."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from forge.errors import StoreError
from forge.records import STAGES
from forge.store.adapters import FolderAdapterStore, Manifest
from jobs.adapters.opened import meant, reading


def list_all(root: Path, stage: str | None, console: Console) -> None:
    """Print a table of the versions; one whose files do not match its manifest is marked, and the others are still shown."""
    with reading(root) as store:
        promoted = set(store.ledger.promoted().values())
        manifests = [store.manifest(name) for name in store.model_ids() if stage is None or name.startswith(f"{stage}@")]
        table = Table(box=None, pad_edge=False)
        for column in ("", "version", "round", "rank", "rows", "loss", "base"):
            table.add_column(
                column, justify="right" if column in ("round", "rank", "rows") else "left", overflow="fold", no_wrap=column == "version"
            )
        for one in sorted(manifests, key=_order):
            ref = one.ref
            mark = "promoted" if ref.model_id in promoted else ""
            state = mark if _sound(store, ref.model_id) else "[red]damaged[/]"
            table.add_row(state, ref.model_id, str(ref.round), str(ref.rank), f"{ref.examples:,}", _loss(one), escape(ref.base))
        console.print(table if manifests else "no adapters yet")


def show(root: Path, name: str, console: Console) -> None:
    """Print a version's manifest. Raises `StoreError` when its files are not those that it names."""
    with reading(root) as store:
        model_id = meant(store, [name])[0]
        ref, one = store.get(model_id), store.manifest(model_id)
        told = {
            "version": model_id + (" (promoted)" if model_id in store.ledger.promoted().values() else ""),
            "base": f"{ref.base}, sha256 {ref.base_sha256}",
            "data": f"{ref.examples:,} rows, sha256 {ref.data_sha256}",
            "rank": str(ref.rank),
            "metrics": metrics(one),
            "round": f"{ref.round}, after round {one.parent_round}" if one.parent_round else str(ref.round),
            "parents": ", ".join(one.parents.values()) or "none",
            "code": f"forge {one.forge}, sources sha256 {one.code_sha256 or 'unknown'}",
            "folder": ref.path,
        }
        for key, value in told.items():
            console.print(f"[bold]{key:<8}[/] {escape(value)}", soft_wrap=True)
        for file, digest in sorted(one.files.items()):
            console.print(f"[dim]file     {escape(file)} {digest}[/]", soft_wrap=True)
        for key, setting in flat(one.config):
            console.print(f"[dim]config   {escape(key)}={escape(str(setting))}[/]", soft_wrap=True)


def history(root: Path, console: Console) -> None:
    """Print the changes of what is promoted, oldest first."""
    with reading(root) as store:
        for entry in store.ledger.history():
            when = datetime.fromtimestamp(entry.recorded).strftime("%Y-%m-%d %H:%M:%S")
            console.print(f"{entry.number:>4}  {when}  {', '.join(entry.adapters.values()) or 'the base alone'}", soft_wrap=True)


def metrics(one: Manifest) -> str:
    """`name value, …`, by name."""
    return ", ".join(f"{name} {value:.4g}" for name, value in sorted(one.ref.metrics.items()))


def flat(tree: object, prefix: str = "") -> list[tuple[str, object]]:
    """`a.b` and value of each leaf."""
    if not isinstance(tree, dict):
        return [(prefix.rstrip("."), tree)]
    return [leaf for key, value in tree.items() for leaf in flat(value, f"{prefix}{key}.")]


def _loss(one: Manifest) -> str:
    """Held-out loss where rows were held out, the training loss else, in nats a token."""
    found = [(name, one.ref.metrics[name]) for name in ("eval_loss", "train_loss") if name in one.ref.metrics]
    return f"{found[0][1]:.3f} {'held out' if found[0][0] == 'eval_loss' else 'training'}" if found else ""


def _sound(store: FolderAdapterStore, model_id: str) -> bool:
    try:
        store.get(model_id)
    except StoreError:
        return False
    return True


def _order(one: Manifest) -> tuple[int, int, str]:
    stage = one.ref.stage
    return one.ref.round, STAGES.index(stage) if stage in STAGES else len(STAGES), one.ref.model_id
