"""How much a key may ask: a bucket of requests for each, filled evenly over the minute. Counted in one replica."""

from __future__ import annotations

import time
from collections.abc import Callable


class Buckets:
    """A token bucket a name."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def wait_s(self, name: str, per_minute: int) -> float:
        """Take one request from the bucket of `name`: 0 when there is one, else the seconds until there will be. 0 a minute is no limit."""
        if per_minute <= 0:
            return 0.0
        now = self._clock()
        left, since = self._left.get(name, (float(per_minute), now))
        left = min(float(per_minute), left + (now - since) * per_minute / 60)
        if left < 1.0:
            self._left[name] = (left, now)
            return (1.0 - left) * 60 / per_minute
        self._left[name] = (left - 1.0, now)
        return 0.0
