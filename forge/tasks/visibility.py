"""How easily a bug is seen: the share of tests that fail with it."""

from __future__ import annotations

from collections import defaultdict

from forge.records import Record, TestRun


class Visibility(Record):
    """The share of the passing tests that may fail because of a bug, from `least` to `most`."""

    least: float = 0.0
    most: float = 1.0

    def refusal(self, before: TestRun, after: TestRun) -> str:
        """Why a bug is too visible or too hidden, judged by one run with it and one without; empty when it is neither."""
        passing: dict[str, list[str]] = defaultdict(list)
        for name, outcome in after.outcomes.items():
            if outcome == "passed":
                passing[name.partition("::")[0]].append(name)
        if any(not any(name in before.outcomes for name in names) for names in passing.values()):
            return "too visible: its tests cannot be imported"
        every = [name for names in passing.values() for name in names]
        failing = [name for name in every if before.outcomes.get(name) != "passed"]
        if len(failing) > self.most * len(every):
            return f"too visible: more than {self.most:.0%} of the tests fail"
        if failing and len(failing) < self.least * len(every):
            return f"too hidden: fewer than {self.least:.0%} of the tests fail"
        return ""
