"""Ending the Ray that a test began in its own process, with all that Serve remembers of it."""

from __future__ import annotations

import ray
from ray import serve


def end() -> None:
    """End Serve and then Ray.

    Serve keeps its controller's address beyond `ray.shutdown()` and knows a new Ray by its job's number alone, which is
    1 in every Ray that a process begins: without this the next one is asked for an actor of the last.
    """
    if ray.is_initialized():
        serve.shutdown()
    ray.shutdown()
