"""Progress lines and trackers."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from forge.fakes.tracker import RecordingTracker
from forge.observe import metrics
from forge.observe.progress import MOVING, PhaseProgress, Progress, clock, to_stream
from forge.observe.screen import Screen
from forge.records import Outcome, Trajectory, Turn


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def test_a_phase_has_a_line_at_its_start_and_one_at_its_end_with_its_result() -> None:
    lines: list[str] = []
    now = Clock()
    with Progress(lines.append, every_s=60, now=now).phase("mine", "640 commits") as phase:
        now.time = 75.0
        phase.result("1,204 examples")
    assert [line.split() for line in lines] == [["▸", "mine", "640", "commits"], ["✓", "mine", "1,204", "examples", "1:15"]]


def test_a_failing_phase_says_so_and_lets_the_error_rise() -> None:
    lines: list[str] = []
    with pytest.raises(ValueError, match="no disk"), Progress(lines.append, every_s=60, now=Clock()).phase("train", "five stages"):
        raise ValueError("no disk")
    assert lines[-1].startswith("✗ train")
    assert "ValueError: no disk" in lines[-1]


def test_the_moving_line_has_counts_rate_time_left_and_what_happens_now() -> None:
    now = Clock()
    phase = PhaseProgress("collect-1", lambda _: None, now)
    phase.total(1200, unit="rollouts")
    now.time = 10.0
    phase.advance(300, now="solved 43 %")
    phase.report()
    line = phase.line()
    assert line.startswith(MOVING)
    assert "█████░░░░░░░░░░░░░░░" in line
    for part in ("300/1,200", "25%", "30.0 rollouts/s", "0:30 left", "solved 43 %"):
        assert part in line


def test_items_of_an_earlier_run_do_not_count_into_the_rate() -> None:
    now = Clock()
    phase = PhaseProgress("collect-1", lambda _: None, now)
    phase.total(1000, done=900)
    now.time = 10.0
    phase.at(910)
    phase.report()
    assert "1.0/s" in phase.line()
    assert "1:30 left" in phase.line()


def test_a_bar_that_does_not_move_promises_no_time() -> None:
    now = Clock()
    phase = PhaseProgress("collect-1", lambda _: None, now)
    phase.total(10)
    now.time = 61.0
    phase.report()
    assert "left" not in phase.line()
    assert "1:01 so far" in phase.line()


def test_a_quiet_phase_still_shows_signs_of_life() -> None:
    stream = io.StringIO()
    with Progress(to_stream(stream), every_s=0.01).phase("serve", "starting the endpoint") as phase:
        phase.now("loading weights")
        while stream.getvalue().count(MOVING) < 2:
            time.sleep(0.005)
    assert "loading weights" in stream.getvalue()


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")])
def test_seconds_read_as_a_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_a_terminal_keeps_ended_lines_and_a_log_keeps_all() -> None:
    terminal, log = io.StringIO(), io.StringIO()
    for stream, is_terminal in ((terminal, True), (log, False)):
        with Screen(Console(file=stream, force_terminal=is_terminal, width=80)) as screen:
            screen.line("▸ mine")
            screen.line(f"{MOVING}mine  1/2")
            screen.line("✓ mine [not markup]")
    assert log.getvalue() == f"▸ mine\n{MOVING}mine  1/2\n✓ mine [not markup]\n"
    assert "✓ mine [not markup]" in terminal.getvalue()


def test_a_rollout_is_counted_by_outcome_with_its_tokens(tmp_path: Path) -> None:
    turn = Turn(stage="review", model_id="m", messages=(), text="", prompt_ids=(1, 2, 3), completion_ids=(4,), logprobs=(0.0,))
    done = Trajectory(
        id="x", task_id="t", repo="r", round=1, step="s", sample=0, seed=0, temperature=0, turns=(turn, turn), outcome=Outcome.SOLVED
    )
    recorder = RecordingTracker()
    metrics.log_rollout(metrics.SeveralTrackers([recorder, metrics.FileTracker(tmp_path / "m.jsonl", now=lambda: 5.0)]), done)
    assert [(call.values, call.tags.get("outcome") or call.tags["kind"]) for call in recorder.logged] == [
        ({"rollouts_total": 1}, "solved"),
        ({"tokens_total": 6}, "prompt"),
        ({"tokens_total": 2}, "completion"),
    ]
    assert recorder.last("tokens_total") == 2
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert lines[0] == {"at": 5.0, "values": {"rollouts_total": 1}, "tags": {"step": "s", "outcome": "solved"}}
