"""The public sets that are known: how a row is recognised, read and written again. Adding a set is adding an entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from forge.errors import ConfigError, TaskError
from forge.records import Instance
from forge.tasks.public import r2e_gym, swe_bench, swe_rebench, swe_smith
from forge.tasks.public.row import Row, leftover, restored

HARBOR = "harbor"
"""The set of task folders, which have no rows: see `forge.tasks.public.harbor`."""


@dataclass(frozen=True)
class PublicSet:
    """One set: `parse` raises `TaskError`, whose message is the reason a row is counted under."""

    name: str
    knows: Callable[[Row], bool]
    parse: Callable[[Row], Instance]
    row: Callable[[Instance], Mapping[str, Any]]


SETS = {
    entry.name: entry
    for entry in (
        PublicSet("r2e-gym", r2e_gym.is_r2e_gym, r2e_gym.parse, r2e_gym.row),
        PublicSet("swe-rebench-v2", swe_rebench.is_swe_rebench, swe_rebench.parse, swe_rebench.row),
        PublicSet("swe-smith", swe_smith.is_swe_smith, swe_smith.parse, swe_smith.row),
        PublicSet("swe-bench-5", swe_bench.is_version_5, swe_bench.parse_version_5, swe_bench.version_5_row),
        PublicSet("swe-bench", swe_bench.is_swe_bench, swe_bench.parse_swe_bench, swe_bench.old_row),
        PublicSet("swe-gym", swe_bench.is_swe_gym, swe_bench.parse_swe_gym, swe_bench.old_row),
    )
}
"""By name, the most particular first: that is the order in which a row is looked at."""


def set_named(name: str) -> PublicSet:
    """The set of this name; raises `ConfigError`."""
    if name not in SETS:
        raise ConfigError(f"there is no set {name}; forge knows {', '.join(sorted([*SETS, HARBOR]))}")
    return SETS[name]


def read_row(row: Row, name: str | None = None) -> Instance:
    """The instance of a row of the set `name`, or of the one that its fields tell; raises `TaskError`."""
    known = SETS[name] if name else next((entry for entry in SETS.values() if entry.knows(row)), None)
    if known is None:
        raise TaskError("its fields are of no set that is known")
    try:
        instance = known.parse(row)
    except ValidationError as error:
        first = error.errors()[0]
        raise TaskError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return instance.model_copy(update={"fields": leftover(row, known.row(instance))})


def write_row(instance: Instance) -> dict[str, Any]:
    """The very row that `read_row` was given; raises `TaskError` for a set without rows."""
    if instance.set not in SETS:
        raise TaskError(f"{instance.set} has no rows")
    return restored(SETS[instance.set].row(instance), instance.fields)
