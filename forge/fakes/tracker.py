"""A tracker that remembers, for tests and for a look at a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Logged(NamedTuple):
    """One call of `log`."""

    values: dict[str, float]
    tags: dict[str, str]


class RecordingTracker:
    """`forge.seams.Tracker` that keeps every call, in order, in `logged`."""

    def __init__(self) -> None:
        self.logged: list[Logged] = []

    def log(self, values: Mapping[str, float], *, tags: Mapping[str, str] | None = None) -> None:
        self.logged.append(Logged(dict(values), dict(tags or {})))

    def last(self, name: str) -> float | None:
        """The newest value of one name, `None` if it was never logged."""
        return next((call.values[name] for call in reversed(self.logged) if name in call.values), None)
