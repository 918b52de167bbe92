"""Tests under a repository's own Python: its interpreter is executed with `reporter.py` as its program, or is this process already.

The reporter's text is read when the fork server starts: a box does not see the program's folder.
"""

from __future__ import annotations

import json
import os
import site
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .reporter import put_first

_REPORTER = Path(__file__).with_name("reporter.py").read_text()


@dataclass(frozen=True)
class Runtime:
    """An interpreter, the folders of the work tree to import from, and the pytest plugins to load."""

    interpreter: str
    roots: tuple[str, ...]
    plugins: tuple[str, ...]

    @classmethod
    def of(cls, message: dict[str, Any] | None) -> Runtime | None:
        """The runtime that the host asked for; `None` for this very Python."""
        return None if message is None else cls(message["interpreter"], tuple(message["roots"]), tuple(message["plugins"]))

    def environment(self, work: str, base: dict[str, str]) -> dict[str, str]:
        """The variables of a command: this interpreter first on the path, the work tree importable."""
        return base | {
            "PATH": f"{os.path.dirname(self.interpreter)}:{base['PATH']}",
            "PYTHONPATH": os.pathsep.join(self._entries(work)),
            "VIRTUAL_ENV": os.path.dirname(os.path.dirname(self.interpreter)),
        }

    @property
    def is_warm(self) -> bool:
        """Whether this very process is its interpreter, forked from a server that has pytest imported."""
        return self.interpreter == sys.executable

    def adopt(self, work: str) -> list[str]:
        """Make a fork of the server what `execute` would have become, but for the time it takes; returns the folders to import from.

        Only now are the packages' path files read: they may hold code, which the server itself must not run.
        """
        site.main()
        entries = [entry for entry in self._entries(work) if os.path.isdir(entry)]
        put_first(entries)
        return entries

    def execute(self, work: str, ids: Sequence[str], fd: int, token: str, environment: dict[str, str]) -> int:
        """Become a run of exactly `ids` that writes its events to `fd`; never returns."""
        request = os.memfd_create("request", 0)
        body = {"ids": list(ids), "token": token, "root": work, "path": self._entries(work), "plugins": self.plugins, "fd": fd}
        os.write(request, json.dumps(body).encode())
        os.lseek(request, 0, os.SEEK_SET)
        os.set_inheritable(fd, True)
        # The work tree joins the path once pytest is imported: a repository must not stand in for pytest's own packages.
        environment = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
        os.execve(self.interpreter, [self.interpreter, "-s", "-B", "-c", _REPORTER, str(request)], environment)  # noqa: S606
        raise AssertionError("unreachable")

    def _entries(self, work: str) -> list[str]:
        return [os.path.join(work, root) for root in self.roots] + [work]
