"""What running the tests and the issue's examples said, in the words that review reads."""

from __future__ import annotations


def summary(passed: int, failed: int, examples_right: bool | None) -> str:
    """Two short lines; `None` when the issue has no example that could be run."""
    lines = [f"{passed} passed, {failed} failed"] if passed or failed else []
    if examples_right is not None:
        lines.append("example right" if examples_right else "example wrong")
    return "\n".join(lines)
