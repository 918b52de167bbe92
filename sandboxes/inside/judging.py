"""What a test run's events are worth: the outcome of each id asked for, and every doubt about the run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def judge(ids: Sequence[str], events: bytes, token: str, status: int) -> dict[str, Any]:
    """The fields of a `TestRun` from the pipe's bytes and the exit status; every doubt makes it incomplete."""
    outcomes: dict[str, str] = {}
    messages: dict[str, str] = {}
    lines: dict[str, int] = {}
    doubts: list[str] = []
    collected: list[str] | None = None
    end: int | None = None
    for line in events.splitlines():
        event = _event(line, token)
        if event is None or end is not None:
            doubts.append("a malformed event")
        elif "collected" in event:
            collected = _once(collected, event["collected"], doubts)
        elif "end" in event:
            end = int(event["end"])
        else:
            _record(event, outcomes, messages, lines, doubts)
    doubts += _final_doubts(ids, collected, outcomes, end, status)
    return {
        "outcomes": {name: outcomes.get(name, "missing") for name in _asked(ids, collected or [], outcomes)},
        "complete": not doubts,
        "reason": "; ".join(dict.fromkeys(doubts)),
        "messages": {name: text for name, text in messages.items() if name in outcomes},
        "lines": {name: line for name, line in lines.items() if name in outcomes},
    }


def _event(line: bytes, token: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and event.pop("token", None) == token else None


def _once(before: list[str] | None, names: list[str], doubts: list[str]) -> list[str]:
    if before is not None:
        doubts.append("collected twice")
    if len(set(names)) != len(names):
        doubts.append("an id was collected twice")
    return names


def _record(event: dict[str, Any], outcomes: dict[str, str], messages: dict[str, str], lines: dict[str, int], doubts: list[str]) -> None:
    name = event.get("id") or event.get("broken") or ""
    if name in outcomes:
        doubts.append(f"two outcomes of {name}")
    outcomes[name] = "error" if "broken" in event else event.get("outcome", "error")
    if event.get("message"):
        messages[name] = event["message"]
    if isinstance(event.get("line"), int) and event["line"] > 0:
        lines[name] = event["line"]


def _final_doubts(ids: Sequence[str], collected: list[str] | None, outcomes: dict[str, str], end: int | None, status: int) -> list[str]:
    if end is None:
        return [f"the run ended early (status {status})"]
    if end != status:
        return [f"pytest said {end} and the process exited with {status}"]
    if collected is None:
        return ["no collection was reported"]
    files = {name for name in ids if "::" not in name}
    strange = [name for name in collected if name not in ids and name.partition("::")[0] not in files]
    lost = [name for name in collected if name not in outcomes]
    return [f"{name} was not asked for" for name in strange] + [f"{name} has no outcome" for name in lost]


def _asked(ids: Sequence[str], collected: Sequence[str], outcomes: dict[str, str]) -> list[str]:
    """The ids to answer for: each exact one, and for a bare file all of its tests (itself when it has none)."""
    asked: list[str] = []
    for name in dict.fromkeys(ids):
        inside = [] if "::" in name else [found for found in collected if found.partition("::")[0] == name]
        asked += inside or [name]
        if "::" in name and name not in outcomes and name.partition("::")[0] in outcomes:
            outcomes[name] = outcomes[name.partition("::")[0]]
    return list(dict.fromkeys(asked))
