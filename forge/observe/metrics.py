"""Trackers that need nothing outside, and the names of forge's own metrics.

A name that ends in `_total` counts up by the values logged; every other one is set to them. Behind Ray
(`forge.observe.on_ray`) the names get the prefix `forge_` and show on the dashboard.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from forge.records import Trajectory
from forge.seams import Tracker

ROLLOUTS = "rollouts_total"
"""Finished rollouts; tags: outcome, step."""
TOKENS = "tokens_total"
"""Tokens of finished rollouts; tags: kind (prompt or completion), step."""
QUEUE = "queue"
"""Rollouts that wait or are under way."""
ROUND = "round"
"""The round that the loop is in."""
HELDOUT = "heldout_pass_at_1"
"""Share of held-out tasks solved at the last evaluated step; tag: step."""

LOSS = "training_loss"
"""Mean loss of the last steps, in nats an answer token; tag: stage."""


def log_rollout(tracker: Tracker, trajectory: Trajectory) -> None:
    """Count one finished rollout and its tokens."""
    step = {"step": trajectory.step}
    tracker.log({ROLLOUTS: 1}, tags=step | {"outcome": trajectory.outcome.value})
    tracker.log({TOKENS: sum(len(turn.prompt_ids) for turn in trajectory.turns)}, tags=step | {"kind": "prompt"})
    tracker.log({TOKENS: trajectory.completion_tokens}, tags=step | {"kind": "completion"})


class FileTracker:
    """Appends each call as a JSON line `{"at", "values", "tags"}` to `path`. Safe to use from several threads."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now
        self._guard = threading.Lock()

    def log(self, values: Mapping[str, float], *, tags: Mapping[str, str] | None = None) -> None:
        line = json.dumps({"at": round(self._now(), 3), "values": dict(values), "tags": dict(tags or {})})
        with self._guard, self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


class SeveralTrackers:
    """Passes every call on to all of `trackers`."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = tuple(trackers)

    def log(self, values: Mapping[str, float], *, tags: Mapping[str, str] | None = None) -> None:
        for tracker in self._trackers:
            tracker.log(values, tags=tags)
