"""R2E-Gym's judgement: pytest's summary must say of every test what it said after the fix, no more and no less.

Source: the set's own reward, with one difference. A line's status is its first word: anywhere in the line, as upstream looks
for it, a failing test could put the word "PASSED" into its own message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_SUMMARY = "short test summary info"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def statuses(log: str) -> dict[str, str]:
    """Status of each test of pytest's short summary, by its name without the file, the parts joined by dots."""
    found: dict[str, str] = {}
    for line in _COLOUR.sub("", log).partition(_SUMMARY)[2].splitlines():
        status, _, rest = line.partition(" ")
        if status in ("PASSED", "FAILED", "ERROR"):
            found[_plain(".".join(rest.split("::")[1:]))] = status
    return found


def differing(expected: Mapping[str, str], log: str) -> list[str]:
    """The names whose status is not the expected one, those that should not be there included; none means solved."""
    said = statuses(log)
    wanted = {_plain(name): status for name, status in expected.items()}
    return sorted(name for name in said.keys() | wanted.keys() if name and said.get(name) != wanted.get(name))


def _plain(name: str) -> str:
    return _COLOUR.sub("", name).partition(" - ")[0].strip()
