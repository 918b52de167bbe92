"""The layout of a workspace, the lock that gives it to one run, and the schema version it was written with.

    ledger.db  config.yaml  workspace.json  lock  report.json  report.html
    examples/<stage>/  tasks/  trees/  adapters/<stage>/<version>/  rounds/<n>/

A workspace holds no absolute path, so it may be copied or moved while no run has it open.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import yaml

from forge.errors import ConfigError, WorkspaceError
from forge.store import atomic

SCHEMA = 1
"""Version of the layout; a workspace of another version is refused, never converted in place."""

MAY_CHANGE = (
    "ablation",
    "align",
    "ray",
    "serve",
    "sandbox",
    "workspace",
    "rounds.limit",
    "rounds.budget",
    "rounds.bootstrap_solves",
    "rounds.best_of",
)
"""Keys of the configuration that may differ from one start in a workspace to the next."""
OF_ENDPOINTS = frozenset({"gguf", "solves"})
"""Folders that an endpoint makes, also where no run has made a workspace yet."""


class Workspace:
    """The paths of one workspace. `open` makes and locks it; the constructor alone only names paths."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock: IO[str] | None = None

    @classmethod
    def open(cls, root: Path) -> Workspace:
        """The workspace at `root`, made if need be and held by this process until `close` or its death.

        Raises `WorkspaceError` when another live run holds it, its schema is another, or the folder is not forge's.
        """
        workspace = cls(root)
        workspace._check_or_make()
        workspace._take_lock()
        return workspace

    def close(self) -> None:
        """Let go of the lock; safe to call twice."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.db"

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def tasks(self) -> Path:
        return self.root / "tasks"

    @property
    def trees(self) -> Path:
        return self.root / "trees"

    @property
    def teacher(self) -> Path:
        """Everything that a teacher was asked, and its answers."""
        return self.root / "teacher"

    @property
    def adapters(self) -> Path:
        return self.root / "adapters"

    @property
    def gguf(self) -> Path:
        """Bases and adapters as llama.cpp reads them, by what they were made of; may be removed at any time."""
        return self.root / "gguf"

    @property
    def report_json(self) -> Path:
        return self.root / "report.json"

    @property
    def report_html(self) -> Path:
        return self.root / "report.html"

    def examples(self, stage: str) -> Path:
        """Folder of one stage's training rows."""
        return self.root / "examples" / stage

    def round(self, number: int) -> Path:
        """Folder of one round: resolved config, trajectories, report."""
        return self.root / "rounds" / str(number)

    def trajectories(self, round_number: int, step: str) -> Path:
        """Parquet file of one step's trajectories, once its phase is over."""
        return self.round(round_number) / "trajectories" / f"{step}.parquet"

    def bind(
        self, config: Mapping[str, Any], *, may_change: Collection[str] = MAY_CHANGE, defaults: Mapping[str, Any] | None = None
    ) -> bool:
        """Tie the workspace to a configuration; true when it was already tied, that is on a second run.

        Sections and keys in `may_change` say how a run is carried out or how far it goes, not what it computes: their newest values are
        kept. A key that the forge which began the run did not know yet had its value in `defaults`. Raises `ConfigError` when any other
        key differs from the run that the workspace holds.
        """
        if not self.config.exists():
            atomic.write_text(self.config, yaml.safe_dump(dict(config), sort_keys=False))
            return False
        stored = dict(_flat(yaml.safe_load(self.config.read_text(encoding="utf-8"))))
        before, after = dict(_flat(defaults or {})) | stored, dict(_flat(config))
        different = [
            key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key) and not _free(key, may_change)
        ]
        if different:
            key = different[0]
            more = f" (and {len(different) - 1} more keys)" if len(different) > 1 else ""
            raise ConfigError(
                f"{self.root} holds a run with {key}={before.get(key)!r}, now it is {after.get(key)!r}{more}; "
                "give another folder with workspace=PATH, or delete that one to start anew"
            )
        if stored != after:
            atomic.write_text(self.config, yaml.safe_dump(dict(config), sort_keys=False))
        return True

    def _check_or_make(self) -> None:
        marker = self.root / "workspace.json"
        if self.root.is_file():
            raise WorkspaceError(f"{self.root} is a file, not a folder; choose another workspace")
        if not marker.exists():
            others = (
                [entry.name for entry in self.root.iterdir() if not entry.name.startswith(atomic.TEMPORARY)] if self.root.exists() else []
            )
            others = [name for name in others if name not in OF_ENDPOINTS]
            if others:
                raise WorkspaceError(
                    f"{self.root} holds {others[0]!r} but no workspace of forge; choose an empty or new folder with workspace=PATH"
                )
            atomic.write_text(marker, json.dumps({"schema": SCHEMA}))
        try:
            found = json.loads(marker.read_text(encoding="utf-8"))["schema"]
        except (ValueError, KeyError, TypeError) as error:
            raise WorkspaceError(
                f"{marker} is not readable ({error}); the workspace is damaged: choose another with workspace=PATH"
            ) from error
        if found != SCHEMA:
            raise WorkspaceError(
                f"{self.root} has workspace schema {found}, this forge writes {SCHEMA}; choose another with workspace=PATH"
            )

    def _take_lock(self) -> None:
        """Hold an flock on `lock`: the kernel frees it when its holder dies, so a stale one is simply taken over."""
        file = (self.root / "lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise WorkspaceError(
                f"{self.root} is in use by {holder}; wait for it, stop it, or choose another with workspace=PATH"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        self._lock = file


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`a.b: value` for each leaf; tuples as lists, as YAML has them."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def _free(key: str, may_change: Collection[str]) -> bool:
    """Whether a dotted key is one of these, or lies in one of these sections."""
    return any(f"{key}.".startswith(f"{free}.") for free in may_change)
