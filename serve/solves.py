"""What the agent was asked and has said so far, in files: a replica that dies is followed by one that takes up where it can.

<folder>/<id>/request.json   what was asked, once          events.jsonl   what happened, a line each
             tree/           the work tree                 done.json      how it ended, once
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forge.store import atomic

KEPT_S = 7 * 24 * 3600.0
"""Ended solves are removed after this long."""


class Solves:
    """The solves in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def begin(self, solve: str, request: dict[str, Any]) -> Path:
        """Where the tree of a new solve belongs; it is there from the moment that `asked` is called."""
        folder = self.root / solve
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "tree").mkdir(parents=True)
        atomic.write_text(folder / "asked.json", json.dumps(request))
        return folder / "tree"

    def asked(self, solve: str) -> None:
        """The tree is complete: from now on the solve is taken up again by whoever comes after."""
        (self.root / solve / "asked.json").rename(self.root / solve / "request.json")

    def drop(self, solve: str) -> None:
        """Forget a solve."""
        shutil.rmtree(self.root / solve, ignore_errors=True)

    def tree(self, solve: str) -> Path:
        """The work tree of a solve."""
        return self.root / solve / "tree"

    def request(self, solve: str) -> dict[str, Any] | None:
        """What was asked, `None` when there is no such solve."""
        return _read(self.root / solve / "request.json")

    def done(self, solve: str) -> dict[str, Any] | None:
        """How a solve ended, `None` while it has not."""
        return _read(self.root / solve / "done.json")

    def tell(self, solve: str, event: dict[str, Any]) -> None:
        """One more event."""
        with (self.root / solve / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")

    def end(self, solve: str, result: dict[str, Any]) -> None:
        """The end of a solve, with which its tree goes."""
        atomic.write_text(self.root / solve / "done.json", json.dumps(result))
        shutil.rmtree(self.tree(solve), ignore_errors=True)

    def events(self, solve: str, after: int = 0) -> list[dict[str, Any]]:
        """The whole events behind the first `after` ones."""
        try:
            lines = (self.root / solve / "events.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        except OSError:
            return []
        return [json.loads(line) for line in lines[after:]]

    def unfinished(self) -> Iterator[str]:
        """Solves that somebody began and nobody ended, oldest first."""
        begun = [path.parent for path in self.root.glob("*/request.json") if not (path.parent / "done.json").exists()]
        yield from (folder.name for folder in sorted(begun, key=lambda folder: folder.stat().st_mtime))

    def sweep(self, now: float | None = None) -> int:
        """Number of solves removed: those that ended long ago, and those that were never asked to the end."""
        removed = 0
        for folder in [path for path in self.root.glob("*") if path.is_dir()]:
            ended = folder / "done.json"
            old = ended.exists() and (now or time.time()) - ended.stat().st_mtime > KEPT_S
            if old or not (folder / "request.json").exists():
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        return removed


def _read(file: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content
