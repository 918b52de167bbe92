"""What Ray's metrics, and through them Prometheus and the dashboard, show of an endpoint."""

from __future__ import annotations

from ray.util.metrics import Counter, Gauge, Histogram

SECONDS = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]


class Counted:
    """Implements `serve.front.Watch`, and counts what happens to adapters."""

    def __init__(self, base: str) -> None:
        shared = {"base": base}
        self._requests = Counter("forge_requests", "Requests answered.", ("base", "route", "stage", "status"))
        self._seconds = Histogram("forge_request_seconds", "From request to end of answer.", SECONDS, ("base", "route", "stage"))
        self._loads = Counter("forge_adapter_loads", "Adapters loaded, and those that could not be.", ("base", "stage", "outcome"))
        self._asleep = Gauge("forge_asleep", "1 while the card is lent to training.", ("base",))
        for metric in (self._requests, self._seconds, self._loads, self._asleep):
            metric.set_default_tags(shared)

    def __call__(self, *, route: str, model: str, status: int, seconds: float) -> None:
        tags = {"route": route, "stage": model.partition("@")[0]}
        self._requests.inc(1, {**tags, "status": str(status)})
        self._seconds.observe(seconds, tags)

    def loaded(self, model: str, problem: str) -> None:
        """An adapter was loaded, or was not."""
        self._loads.inc(1, {"stage": model.partition("@")[0], "outcome": "failed" if problem else "loaded"})

    def asleep(self, asleep: bool) -> None:
        """The card was lent, or came back."""
        self._asleep.set(float(asleep))
