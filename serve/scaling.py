"""How many replicas a base has, in Ray Serve's words."""

from __future__ import annotations

from typing import Any

from forge.config import ReplicasConfig


def scaling(replicas: ReplicasConfig) -> dict[str, Any]:
    """Options of the deployment: nothing for one replica, a number, or bounds between which load decides.

    No `initial_replicas`: Serve goes back to so many whenever names change, which is every promotion.
    """
    if not replicas.several:
        return {}
    if replicas.min == replicas.max:
        return {"num_replicas": replicas.min}
    return {
        "autoscaling_config": {
            "min_replicas": replicas.min,
            "max_replicas": replicas.max,
            "target_ongoing_requests": replicas.requests_each,
        }
    }
