"""Progress of a run as lines of text: one when a phase starts, one when it ends, moving ones in between.

    ▸ collect-1          6 trajectories for each of 200 training tasks
      … collect-1        ███████░░░░░░░░░░░░░   412/1,200   34 %    9.6/s   1:22 left  solved 43 %
    ✓ collect-1          1,200 rollouts, 512 solved, none masked   2:05

Moving lines begin with `MOVING`; where output is a log they come every few seconds, and a terminal
(`forge.observe.screen`) shows the newest one in place.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

MOVING = "  … "
NAME_WIDTH = 20
BAR_WIDTH = 20
WINDOW = 24
"""Reports over which the rate is taken: recent enough for the time left, long enough to be steady."""


class Progress:
    """Writes progress lines to `sink`; a phase's moving line comes at most every `every_s` seconds."""

    def __init__(self, sink: Callable[[str], None], *, every_s: float = 4.0, now: Callable[[], float] = time.monotonic) -> None:
        self._sink = sink
        self._every_s = every_s
        self._now = now

    @contextmanager
    def phase(self, name: str, what: str) -> Iterator[PhaseProgress]:
        """Report one phase; its end line carries what `PhaseProgress.result` was told and the seconds it took."""
        self._sink(f"▸ {name:<{NAME_WIDTH}} {what}")
        phase = PhaseProgress(name, self._sink, self._now)
        try:
            with _ticking(phase.report, self._every_s):
                yield phase
        except BaseException as error:
            first = (str(error).splitlines() or [""])[0]
            self._sink(f"✗ {name:<{NAME_WIDTH}} {type(error).__name__}: {first}   after {clock(phase.elapsed)}")
            raise
        self._sink(f"✓ {name:<{NAME_WIDTH}} {phase.summary or 'done'}   {clock(phase.elapsed)}")

    def skipped(self, name: str, what: str) -> None:
        """Report a phase that an earlier run has done, and what is there of it."""
        self._sink(f"= {name:<{NAME_WIDTH}} {what}   (from an earlier run)")

    def say(self, line: str) -> None:
        """Report a line of its own."""
        self._sink(line)


class PhaseProgress:
    """One phase under way. Everything here is cheap: it may be called for every item."""

    def __init__(self, name: str, sink: Callable[[str], None], now: Callable[[], float]) -> None:
        self.name = name
        self.summary = ""
        self._sink = sink
        self._clock = now
        self._started = now()
        self._done = 0.0
        self._total: float | None = None
        self._now_text = ""
        self._unit = ""
        self._points: deque[tuple[float, float]] = deque(maxlen=WINDOW)

    def total(self, total: float, *, done: float = 0, unit: str = "") -> None:
        """Start a bar of `total` items, `done` of them from before; `unit` names them after the rate."""
        self._total, self._done, self._unit = total, done, unit
        self._points.clear()
        self._points.append((self._clock(), done))

    def advance(self, count: float = 1, now: str | None = None) -> None:
        """`count` more items are done; `now` says what is happening."""
        self._done += count
        if now is not None:
            self._now_text = now

    def at(self, done: float, now: str | None = None) -> None:
        """`done` items are done by now, counted from the start of the bar."""
        self.advance(done - self._done, now)

    def now(self, text: str) -> None:
        """What is happening now, without a bar moving."""
        self._now_text = text

    def result(self, text: str) -> None:
        """What the end line says."""
        self.summary = text

    @property
    def elapsed(self) -> float:
        """Seconds since the phase began."""
        return self._clock() - self._started

    def report(self) -> None:
        """Write the moving line now."""
        self._points.append((self._clock(), self._done))
        self._sink(self.line())

    def line(self) -> str:
        """The moving line as of now."""
        head = f"{MOVING}{self.name:<{NAME_WIDTH - 2}} "
        if not self._total:
            return f"{head}{self._now_text or 'working'}   {clock(self.elapsed)}"
        share = min(1.0, self._done / self._total)
        filled = int(share * BAR_WIDTH)
        counts = f"{self._done:,.0f}/{self._total:,.0f}"
        parts = [f"{'█' * filled}{'░' * (BAR_WIDTH - filled)} {counts:>13} {share:>5.0%}", *self._pace()]
        return head + "  ".join([*parts, self._now_text]).rstrip()

    def _pace(self) -> list[str]:
        (first_time, first_done), (last_time, last_done) = self._points[0], self._points[-1]
        if last_time <= first_time or last_done <= first_done:
            return [f"{clock(self.elapsed)} so far"]
        rate = (last_done - first_done) / (last_time - first_time)
        assert self._total is not None
        unit = f" {self._unit}" if self._unit else ""
        left = f"{clock(max(0.0, self._total - self._done) / rate)} left"
        if rate < 0.05:
            return [left]
        return [f"{rate:,.1f}{unit}/s" if rate < 100 else f"{rate:,.0f}{unit}/s", left]


def to_stream(stream: TextIO) -> Callable[[str], None]:
    """A sink that writes each line at once, for a job's log."""

    def write(line: str) -> None:
        stream.write(line + "\n")
        stream.flush()

    return write


def clock(seconds: float) -> str:
    """`0:07`, `12:30` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def _ticking(action: Callable[[], None], every_s: float) -> Iterator[None]:
    """Call `action` every `every_s` seconds on a thread, until the block ends."""
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(every_s):
            action()

    thread = threading.Thread(target=tick, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
