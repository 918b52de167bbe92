"""`forge adapters diff`: how two versions differ."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from forge.export.lora import Adapter, relative_change
from forge.records import Record
from forge.store.adapters import Manifest
from jobs.adapters.opened import meant, reading
from jobs.adapters.show import flat


class Difference(Record):
    """What differs, `before → after` by name; `weights` is ‖after − before‖ / ‖before‖ of all that is added to the base."""

    facts: dict[str, str]
    weights: float


def compare(root: Path, before: str, after: str) -> Difference:
    """How two versions of a workspace differ. Raises `StoreError` for one that is damaged, `ExportError` for one that is no LoRA."""
    with reading(root) as store:
        ids = meant(store, [before, after])
        refs = [store.get(model_id) for model_id in ids]
        old, new = (_facts(store.manifest(model_id)) for model_id in ids)
    names = [*old, *(name for name in new if name not in old)]
    facts = {name: f"{old.get(name, '')} → {new.get(name, '')}" for name in names if old.get(name) != new.get(name)}
    change = relative_change(*(Adapter(Path(ref.path)) for ref in refs))
    return Difference(facts=facts, weights=change)


def show_difference(root: Path, before: str, after: str, console: Console) -> Difference:
    """Print it."""
    found = compare(root, before, after)
    for name, change in found.facts.items():
        console.print(f"{name:<28} {change}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"{'weights':<28} differ by {found.weights:.1%} of what the first adds to the base", highlight=False)
    return found


def _facts(one: Manifest) -> dict[str, str]:
    ref = one.ref
    facts = {
        "version": ref.model_id,
        "base": ref.base,
        "base sha256": ref.base_sha256[:16],
        "data sha256": ref.data_sha256[:16],
        "rows": str(ref.examples),
        "round": str(ref.round),
        "rank": str(ref.rank),
        "forge": f"{one.forge} {one.code_sha256[:16]}",
        "parents": ", ".join(one.parents.values()),
    }
    facts |= {f"metric {name}": f"{value:.6g}" for name, value in sorted(ref.metrics.items())}
    return facts | {f"config {key}": str(value) for key, value in flat(one.config)}
