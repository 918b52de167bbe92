"""What only the whole set can tell about a row, from sketches: duplicates, outliers, sides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from forge.mining.finishing import Verdict
from forge.mining.shard import Shard
from forge.mining.sketch import Sketch
from forge.mining.units import Plan
from forge.store.parquet import stream_records


def compare(shards: Sequence[Shard], plan: Plan) -> dict[str, Verdict]:
    """The verdict on each shard's rows, by the shard's key."""
    return {shard.key: Verdict() for shard in shards}


def sketches(shards: Iterable[Shard], plan: Plan) -> Iterator[Sketch]:
    """Every sketch, shard by shard."""
    for shard in shards:
        yield from stream_records(plan.sketches(shard), Sketch)
