"""Progress lines on a terminal: the moving one stays at the bottom, everything else scrolls above it."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from forge.observe.progress import MOVING

STYLES = {"▸": "bold", "✓": "green", "=": "cyan", "✗": "bold red"}


class Screen:
    """Shows lines on a terminal in place, or as they come where `console` is none."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Screen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def line(self, text: str) -> None:
        """Show one line: a moving one replaces the moving one before it."""
        if self._live is None:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif text.startswith(MOVING):
            self._live.update(Text(text, no_wrap=True, overflow="ellipsis", style="dim"), refresh=True)
        else:
            self._live.update(Text(""), refresh=True)
            self._console.print(Text(text, style=STYLES.get(text[:1], "")), soft_wrap=True)
