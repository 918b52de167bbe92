"""Repositories that are given by address become folders: bare clones, made once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import uuid
from pathlib import Path

from forge.errors import HistoryError

_ADDRESS = re.compile(r"^(?:https?|ssh|git|file)://|^[\w.-]+@[\w.-]+:")
PROTOCOLS = "https:http:ssh:git:file"
"""`ext::` and the like would let an address start programs."""


def is_address(repo: str) -> bool:
    """Whether this is no folder but something to clone."""
    return bool(_ADDRESS.match(repo))


def name_of(repo: str) -> str:
    """The name that rows carry: `owner/name` of an address, the folder's own name otherwise."""
    parts = [part for part in re.split(r"[/:]", repo.rstrip("/").removesuffix(".git")) if part]
    if is_address(repo):
        return "/".join(parts[-2:])
    return Path(repo).expanduser().resolve().name.removesuffix(".git")


def folder_of(repo: str, clones: Path) -> Path:
    """The folder of a repository; of an address the bare clone in `clones`, made now unless it is there.

    Raises `HistoryError` with git's own last line when it cannot be cloned.
    """
    if not is_address(repo):
        return Path(repo).expanduser().resolve()
    target = clones / f"{name_of(repo).replace('/', '--')}.git"
    if not target.is_dir():
        _clone(repo, target)
    return target


def _clone(repo: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".tmp-{uuid.uuid4().hex}-{target.name}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": PROTOCOLS, "LC_ALL": "C"}
    command = ["git", "clone", "--quiet", "--bare", "--single-branch", "--no-tags", "--", repo, str(temporary)]
    try:
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        if done.returncode:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
            raise HistoryError(f"{repo} cannot be cloned: {lines[-1]}")
        temporary.rename(target)
    except OSError as error:
        if not target.is_dir():  # another worker may have been faster
            raise HistoryError(f"{repo} cannot be cloned: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
