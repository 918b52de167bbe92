"""The environment of a work tree that somebody asks about: found as `forge tasks derive` finds it, kept for the next question."""

from __future__ import annotations

import asyncio
import datetime
import shutil
from collections.abc import Callable
from pathlib import Path

from forge.errors import TaskError
from forge.records import Drop, Environment, Limits
from forge.seams import Environments, SandboxProvider
from forge.tasks.era import era_of
from forge.tasks.surroundings import Surroundings
from sandboxes.environments import Shelf, shelf_folder


class TreeSurroundings:
    """Implements `forge.rollouts.solve.FindSurroundings`. Which Python fits is tried once for trees that declare the same, in a year."""

    def __init__(
        self,
        environments: Callable[[], Environments],
        provider: SandboxProvider,
        limits: Limits,
        *,
        folder: Path,
        run_id: str,
        now: Callable[[], datetime.datetime],
    ) -> None:
        """`folder` keeps what trials found; packages are those of the day that `now` says."""
        self._environments, self._provider, self._limits = environments, provider, limits
        self._folder, self._run_id, self._now = folder, run_id, now

    async def __call__(self, tree: Path) -> Environment:
        """The environment in which most of the tree's tests pass. Raises `TaskError` with the reason when there is none."""
        if self._provider.trusted_only:
            raise TaskError(f"boxes of kind {self._provider.name} hold no environment; install bubblewrap or Docker, or ask without one")
        files = await asyncio.to_thread(_contents, tree)
        declared = era_of(files, self._now()).content_hash()
        kept = self._folder / declared
        surroundings = Surroundings(
            self._environments(), self._provider, lambda _: tree, self._limits, folder=kept, run_id=self._run_id
        )  # fmt: skip
        found = await surroundings.of(declared, tree.name, files, self._now())
        if isinstance(found, Drop):
            shutil.rmtree(kept, ignore_errors=True)  # the next tree that declares the same may have tests that run
            raise TaskError(f"{tree.name} gets no environment of its own ({found.reason}); ask with --environment none")
        return found


def surroundings_of(provider: SandboxProvider, limits: Limits, run_id: str) -> TreeSurroundings:
    """Those of this machine's shelf, with trials kept beside it; called before `provider` opens its first box.

    A fork server sees the folders that are there when it starts: the shelf has to be one of them, be it empty.
    """
    shelf = shelf_folder()
    shelf.mkdir(parents=True, exist_ok=True)
    return TreeSurroundings(Shelf, provider, limits, folder=shelf.parent / "trials", run_id=run_id, now=_now)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _contents(tree: Path) -> dict[str, bytes]:
    """Files by path, those over 1 MiB left out, as in a commit's tree."""
    paths = [path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink() and path.stat().st_size <= 2**20]
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in paths}
