"""What Ray's metrics, and through them Prometheus and the dashboard, show of an endpoint."""

from __future__ import annotations

from ray.util.metrics import Counter, Gauge, Histogram

from serve.token_counts import tags_of

SECONDS = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]


class Counted:
    """Implements `serve.front.Watch` and `tokens` `serve.seam.Tokens`, and counts what happens to adapters."""

    def __init__(self, base: str) -> None:
        shared = {"base": base}
        self._requests = Counter("forge_requests", "Requests answered.", ("base", "route", "stage", "adapter", "status"))
        self._seconds = Histogram("forge_request_seconds", "From request to end of answer.", SECONDS, ("base", "route", "stage", "adapter"))
        self._tokens = Counter(
            "forge_answer_tokens",
            "Tokens of answers: of the prompt, of these the ones that the prefix cache held, and those written.",
            ("base", "stage", "adapter", "kind"),
        )
        self._loads = Counter("forge_adapter_loads", "Adapters loaded, and those that could not be.", ("base", "stage", "outcome"))
        self._asleep = Gauge("forge_asleep", "1 while the card is lent to training.", ("base",))
        for metric in (self._requests, self._seconds, self._tokens, self._loads, self._asleep):
            metric.set_default_tags(shared)
        self._is_asleep = False

    def __call__(self, *, route: str, model: str, status: int, seconds: float) -> None:
        tags = {"route": route, **tags_of(model)}
        self._requests.inc(1, {**tags, "status": str(status)})
        self._seconds.observe(seconds, tags)

    def tokens(self, model: str, *, prompt: int, cached: int, written: int) -> None:
        """An answer is over."""
        for kind, count in (("prompt", prompt), ("cached", cached), ("written", written)):
            if count:  # a counter takes no zero
                self._tokens.inc(count, {**tags_of(model), "kind": kind})

    def loaded(self, model: str, problem: str) -> None:
        """An adapter was loaded, or was not."""
        self._loads.inc(1, {"stage": tags_of(model)["stage"], "outcome": "failed" if problem else "loaded"})

    def asleep(self, asleep: bool) -> None:
        """The card was lent, or came back."""
        self._is_asleep = asleep
        self.repeat()

    def repeat(self) -> None:
        """Say again what is still so; Ray forgets a gauge that is not set for a while."""
        self._asleep.set(float(self._is_asleep))
