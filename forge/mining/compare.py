"""What only the whole set can tell about a row, from sketches: duplicates, outliers, sides, and who inspires exercises."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from forge.mining.finishing import Verdict
from forge.mining.quality.duplicates import Aged, duplicates
from forge.mining.quality.outliers import Size, outliers
from forge.mining.quality.sides import Placed, sides
from forge.mining.shard import Shard
from forge.mining.sketch import Sketch
from forge.mining.units import Plan
from forge.store.parquet import stream_records


def compare(shards: Sequence[Shard], plan: Plan) -> dict[str, Verdict]:
    """The verdict on each shard's rows, by the shard's key. Sketches are read three times, a row group in memory at a time."""
    config = plan.config
    drops = outliers((Size(id=one.id, message=one.message_size, diff=one.diff_size) for _, one in _sketches(shards, plan)), config.outliers)
    drops |= duplicates((Aged(id=one.id, age=one.age, print=one.print) for _, one in _sketches(shards, plan)), config.duplicates)
    left = (one for _, one in _sketches(shards, plan) if one.id not in drops)
    side = sides((Placed(id=one.id, repo=one.repo, authored_at=one.age, paths=one.paths) for one in left), config.split)
    ids: dict[str, list[str]] = {shard.key: [] for shard in shards}
    for key, one in _sketches(shards, plan):
        ids[key].append(one.id)
    seeds = _seeds([id_ for some in ids.values() for id_ in some if id_ not in drops and id_ not in side.heldout], config.enrich.seeds)
    return {
        shard.key: Verdict(
            drops={id_: drops[id_] for id_ in ids[shard.key] if id_ in drops},
            heldout=tuple(id_ for id_ in ids[shard.key] if id_ in side.heldout),
            heldout_paths=side.paths.get(shard.repo, ()),
            seeds=tuple(id_ for id_ in ids[shard.key] if id_ in seeds),
        )
        for shard in shards
    }


def _sketches(shards: Sequence[Shard], plan: Plan) -> Iterator[tuple[str, Sketch]]:
    """Every sketch with its shard's key."""
    for shard in shards:
        for sketch in stream_records(plan.sketches(shard), Sketch):
            yield shard.key, sketch


def _seeds(ids: Sequence[str], count: int) -> frozenset[str]:
    """Ids drawn by their hashes: the same ones however the set is cut into shards."""
    return frozenset(sorted(ids, key=lambda id_: hashlib.sha256(id_.encode()).digest())[:count])
