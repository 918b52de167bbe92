"""What every tracker must do; the one behind Ray's metrics is tested where there is a Ray (`tests/ray/test_private_ray.py`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge.fakes.tracker import RecordingTracker
from forge.observe.metrics import FileTracker, SeveralTrackers
from forge.seams import Tracker


@pytest.fixture(params=["recording", "file", "several"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> Tracker:
    file = FileTracker(tmp_path / "metrics.jsonl")
    trackers: dict[str, Tracker] = {"recording": RecordingTracker(), "file": file, "several": SeveralTrackers([file, RecordingTracker()])}
    return trackers[request.param]


def test_values_and_tags_of_the_caller_are_left_alone(tracker: Tracker) -> None:
    values, tags = {"rollouts_total": 1.0}, {"outcome": "solved"}
    tracker.log(values, tags=tags)
    assert (values, tags) == ({"rollouts_total": 1.0}, {"outcome": "solved"})


def test_the_same_name_may_be_logged_again_and_tags_are_optional(tracker: Tracker) -> None:
    assert [tracker.log({"round": float(number)}) for number in range(3)] == [None] * 3
    assert tracker.log({}) is None
