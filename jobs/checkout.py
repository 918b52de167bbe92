"""Where this code lies."""

from __future__ import annotations

from pathlib import Path


def checkout() -> Path:
    """The folder that `forge`, `jobs`, `serve` and `sandboxes` lie in."""
    return Path(__file__).resolve().parent.parent
