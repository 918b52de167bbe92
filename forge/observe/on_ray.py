"""What the dashboard shows of forge: names of actors, and a tracker behind Ray's metrics and each node's Prometheus port."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge

from forge.errors import ForgeError

PREFIX = "forge_"
COUNTED = "_total"


class RayTracker:
    """`forge.seams.Tracker` over `ray.util.metrics`; a name keeps the tag keys of its first use."""

    def __init__(self) -> None:
        self._metrics: dict[str, tuple[Counter | Gauge, frozenset[str]]] = {}

    def log(self, values: Mapping[str, float], *, tags: Mapping[str, str] | None = None) -> None:
        """Count or set each value; raises `ForgeError` when a name comes with other tag keys than before."""
        labels = dict(tags or {})
        for name, value in values.items():
            metric, keys = self._metric(name, frozenset(labels))
            if keys != labels.keys():
                raise ForgeError(f"metric '{name}' was first logged with tags {sorted(keys)}, now with {sorted(labels)}")
            if isinstance(metric, Counter):
                if value > 0:
                    metric.inc(value, tags=labels)
            else:
                metric.set(value, tags=labels)

    def _metric(self, name: str, keys: frozenset[str]) -> tuple[Counter | Gauge, frozenset[str]]:
        if name not in self._metrics:
            counted = name.endswith(COUNTED)
            # Prometheus' exporter adds `_total` to counters by itself.
            exported = PREFIX + (name.removesuffix(COUNTED) if counted else name)
            kind = Counter if counted else Gauge
            self._metrics[name] = (kind(exported, description=f"forge: {name}", tag_keys=tuple(sorted(keys))), keys)
        return self._metrics[name]


def actor_name(role: str) -> str:
    """A name for the dashboard, which Ray wants to be unique among a job's living actors: `forge-<role>-1f3a`."""
    return f"forge-{role}-{uuid.uuid4().hex[:4]}"
