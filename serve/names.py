"""Which model a name in a request means: a base, an exact version, or a stage's promoted one.

Filled from the deployment's `user_config`, which is one plain value and changes as a whole, so that a promotion is seen by all
requests that begin after it and by none that began before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forge.records import Record


class Version(Record):
    """One adapter version as clients see it, and where it is."""

    stage: str
    base: str
    path: str
    round: int = 0
    metrics: dict[str, float] = {}


class Names(Record):
    """Everything that has a name on the endpoint; `bases` are URLs of all bases."""

    own: str = "main"
    bases: dict[str, str] = {}
    versions: dict[str, Version] = {}
    promoted: dict[str, str] = {}
    """Exact ids by stage."""
    adapters: dict[str, str] = {}
    """Folders by exact id: what this base keeps loaded."""
    asleep: bool = False
    """The card is lent to training: nothing is answered until it is back."""


class Meaning(Record):
    """What a name means: an exact id, on which base, and its folder where it is an adapter of this one."""

    model_id: str
    base: str
    path: str | None = None


def meaning_of(names: Names, name: str) -> Meaning | None:
    """What `name` means now, `None` when nothing has that name."""
    if name == names.own or name in names.bases:
        return Meaning(model_id=name, base=name)
    exact = names.promoted.get(name, name)
    if exact in names.adapters:
        return Meaning(model_id=exact, base=names.own, path=names.adapters[exact])
    if exact in names.versions:
        version = names.versions[exact]
        return Meaning(model_id=exact, base=version.base, path=version.path if version.base == names.own else None)
    return Meaning(model_id=exact, base=exact) if exact in names.bases or exact == names.own else None


def known(names: Names) -> list[str]:
    """Every name: bases, stages that have a promoted version, exact ids."""
    return list(dict.fromkeys([names.own, *sorted(names.bases), *sorted(names.promoted), *sorted({*names.adapters, *names.versions})]))


def card(names: Names, name: str, created: int) -> dict[str, Any] | None:
    """OpenAI's model object for a name, with what forge knows of it under `forge`; `None` when nothing has that name."""
    meant = meaning_of(names, name)
    if meant is None:
        return None
    about: dict[str, Any] = {"base": meant.base}
    version = names.versions.get(meant.model_id)
    if version is not None:
        about |= {"stage": version.stage, "round": version.round, "metrics": version.metrics}
        about["promoted"] = names.promoted.get(version.stage) == meant.model_id
    parent = meant.base if meant.model_id != meant.base else None
    shared: Mapping[str, Any] = {"object": "model", "created": created, "owned_by": "forge"}
    return {"id": name, **shared, "root": meant.model_id, "parent": parent, "forge": about}
