"""What was promoted when: going back to it, and which versions nothing refers to any more.

Going back is itself recorded, so the history only grows. Promoting the set that stood before the present one is going
back too: then the next step back goes one further, not forth again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from forge.errors import StoreError
from forge.records import RoundReport
from forge.store.adapters import FolderAdapterStore, Manifest
from forge.store.ledger import Promotion

Promoted = Mapping[str, str]
"""Model id of each stage that has one."""


def standing(history: Iterable[Promoted]) -> list[Promoted]:
    """The sets that led to the present one, which is last; the first is the base alone. What was taken back is left out."""
    stack: list[Promoted] = [{}]
    for promoted in history:
        if len(stack) > 1 and promoted == stack[-2]:
            stack.pop()
        elif promoted != stack[-1]:
            stack.append(promoted)
    return stack


def before(history: Sequence[Promotion], stage: str | None = None, number: int | None = None) -> dict[str, str]:
    """What to go back to: the set `number`, or the one before the present; for one `stage`, only that stage changes.

    Raises `StoreError` when there is nothing before it or no such number.
    """
    present = dict(history[-1].adapters) if history else {}
    if number is not None:
        earlier = _numbered(history, number)
        if stage is None:
            return earlier
        one = {stage: earlier[stage]} if stage in earlier else {}
    else:
        seen = standing(_only(entry.adapters, stage) for entry in history)
        if len(seen) < 2:
            raise StoreError(f"nothing was promoted{f' for {stage}' if stage else ''}, so there is nothing to go back from")
        one = dict(seen[-2])
        if stage is None:
            return one
    return {name: model for name, model in present.items() if name != stage} | one


def go_back(store: FolderAdapterStore, stage: str | None = None, number: int | None = None) -> dict[str, str]:
    """Promote what stood before and return it. Raises `StoreError` when a version of it is gone or damaged; then nothing changes."""
    target = before(store.ledger.history(), stage, number)
    for model_id in target.values():
        store.get(model_id)
    store.ledger.go_back_to(target)
    return target


def unneeded(store: FolderAdapterStore, rounds: Iterable[RoundReport], keep: int) -> list[Manifest]:
    """Versions that are not promoted, were not before the last change, belong to no round's report, and are not
    among the newest `keep` of their stage."""
    manifests = sorted((store.manifest(model_id) for model_id in store.model_ids()), key=lambda one: (one.ref.round, one.ref.version))
    needed = {model for promoted in standing(store.ledger.promotions())[-2:] for model in promoted.values()}
    needed |= set(store.ledger.promoted().values())
    needed |= {model for report in rounds for model in report.adapters.values()}
    for stage in {one.ref.stage for one in manifests}:
        newest = [one.ref.model_id for one in manifests if one.ref.stage == stage]
        needed |= set(newest[max(0, len(newest) - keep) :])
    return [one for one in manifests if one.ref.model_id not in needed]


def _only(promoted: Promoted, stage: str | None) -> Promoted:
    return promoted if stage is None else {name: model for name, model in promoted.items() if name == stage}


def _numbered(history: Sequence[Promotion], number: int) -> dict[str, str]:
    for entry in history:
        if entry.number == number:
            return dict(entry.adapters)
    known = ", ".join(str(entry.number) for entry in history) or "none"
    raise StoreError(f"there is no promotion {number}; there are: {known}")
