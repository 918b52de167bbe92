"""Where an instance's repository is: a tree of its own, or a clone that has its commit; never with the history in it."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

from forge.errors import HistoryError
from forge.records import Instance
from jobs.solving.solver import snapshot


def tree_of(instance: Instance, trees: Path, into: Path) -> Path:
    """A copy in `into` of the repository as the instance begins, under the repository's name.

    A folder with the instance's id is taken as it is. Raises `HistoryError` when `trees` holds neither that nor a clone with its
    commit; a planted bug (SWE-smith) is in no commit.
    """
    own, name = trees / instance.id, repository_name(instance)
    if (own / ".git").exists():
        return snapshot(own, into).rename(into / name)
    if own.is_dir():
        return Path(shutil.copytree(own, into / name, ignore=_links))
    for clone in () if instance.bug_patch else (trees / instance.repo.replace("/", "__"), trees / name):
        if clone.is_dir():
            return _checked_out(clone, instance.base_commit, into / name)
    raise HistoryError(f"{trees} holds neither {instance.id} nor a clone {instance.repo.replace('/', '__')}")


def _links(folder: str, names: list[str]) -> list[str]:
    """Links, which could point anywhere."""
    return [name for name in names if (Path(folder) / name).is_symlink()]


def repository_name(instance: Instance) -> str:
    """What the folder is called: the agent's prompts show it."""
    return instance.repo.rpartition("/")[2] or "repository"


def _checked_out(clone: Path, commit: str, target: Path) -> Path:
    """The regular files of a commit. Links are left out: what they point to need not be in the tree."""
    done = subprocess.run(["git", "-C", str(clone), "archive", "--format=tar", commit], capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise HistoryError(f"{clone} has no commit {commit or '(none is named)'}: {said[-1] if said else 'git archive failed'}")
    target.mkdir()
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        tar.extractall(target, [member for member in tar if member.isreg() or member.isdir()], filter="data")
    return target
