"""A task → an instance of SWE-bench 5, and the context from which its image is built.

The image holds the work tree at `/testbed` as one orphan commit. What the pytest of the image prints is graded, so the
tests must not need more than the base image has: `base` is where that is chosen.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

from forge.errors import TaskError
from forge.records import Environment, FileEdit, Instance, Record, Task
from forge.store.diffs import diff
from forge.tasks.public.commit import packed, repository
from forge.tasks.public.row import leftover
from forge.tasks.public.scripts import END, START, applied
from forge.tasks.public.swe_bench import WORKDIR, version_5_row


class Base(Record):
    """What a task's image is built on, and what its code needs there."""

    image: str = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
    packages: tuple[str, ...] = ()
    """`name==version` of what is installed, pytest included."""
    roots: tuple[str, ...] = ()
    """Folders of the work tree to import from, beside the tree itself."""


BASE = Base()


def base_of(environment: Environment | None, image: str | None) -> Base:
    """The base of a task's environment, on `image` or on the slim one of its Python."""
    if environment is None:
        return Base(image=image) if image else BASE
    slim = f"python:{environment.spec.python}-slim"
    return Base(image=image or slim, packages=environment.installed, roots=environment.roots)


_RUN = f"python3 -m pytest -rA -p no:cacheprovider --tb=short --continue-on-collection-errors --rootdir={WORKDIR}"


def export(task: Task, files: Mapping[str, bytes], *, base: Base = BASE) -> Instance:
    """The task as SWE-bench 5 has it; `files` are those of its tree. Raises `TaskError` with the reason why it cannot be.

    swebench's parser reads a test's name up to the first blank: such names are cut alike here, and left out where two
    become one.
    """
    work = work_tree(task, files)
    commit = repository(work).commit
    failing, passing = _cut(task.fail_to_pass, task.pass_to_pass)
    fix, tests = patch_of(work, task.gold), patch_of(work, task.tests)
    if not fix:
        raise TaskError("its solution changes nothing")
    if START in tests or END in tests:
        raise TaskError("its tests hold the marks by which swebench cuts a log")
    instance = Instance(
        id=task.id,
        set="swe-bench-5",
        repo=task.repo,
        base_commit=commit,
        version="forge",
        image=image_name(commit, base),
        workdir=WORKDIR,
        statement=task.statement,
        gold_patch=fix,
        test_patch=tests,
        fail_to_pass=failing,
        pass_to_pass=passing,
        eval_script=_script(task, work, commit, tests, (*failing, *passing)),
        eval_type="pass_and_fail",
        log_parser="parse_log_pytest",
    )
    row = version_5_row(instance)
    more = {"hints_text": "", "created_at": "", "environment_setup_commit": commit, "forge_commit": task.commit or task.base_commit}
    return instance.model_copy(update={"fields": leftover(row | more, row)})


def work_tree(task: Task, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files that the agent starts from: the task's tree with its set-up over it."""
    work = dict(files)
    for edit in task.setup:
        if edit.content is None:
            work.pop(edit.path, None)
        else:
            work[edit.path] = edit.content.encode("utf-8", "surrogateescape")
    return work


def patch_of(work: Mapping[str, bytes], edits: Sequence[FileEdit]) -> str:
    """The diff that edits make in a work tree; raises `TaskError` where a file is no text."""
    after = {edit.path: edit.content for edit in edits}
    try:
        before = {path: work[path].decode() if path in work else None for path in after}
    except UnicodeDecodeError:
        raise TaskError("it changes a file that is not UTF-8") from None
    return diff(before, after)


def image_name(commit: str, base: Base) -> str:
    """The name of the image of a work tree: equal trees on equal bases have one."""
    return f"forge-task:{hashlib.sha256(f'{base.model_dump_json()} {commit}'.encode()).hexdigest()[:16]}"


def context(work: Mapping[str, bytes], base: Base = BASE) -> dict[str, bytes]:
    """The files of the build context: a recipe, and the work tree with its repository as one tar."""
    return {"Dockerfile": recipe(base).encode(), "work.tar": packed({**work, **repository(work).files})}


def recipe(base: Base) -> str:
    """The Dockerfile. git and pytest are installed where the base lacks them, which needs a network."""
    version = importlib.metadata.version("pytest")
    git = "apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*"
    return "\n".join(
        [
            f"FROM {base.image}",
            *([f"RUN python3 -m pip install --no-cache-dir {' '.join(base.packages)}"] if base.packages else []),
            f'RUN python3 -c "import pytest" || python3 -m pip install --no-cache-dir pytest=={version}',
            f"RUN git --version || ({git})",
            f"ADD work.tar {WORKDIR}/",
            f"WORKDIR {WORKDIR}",
            *([f"ENV PYTHONPATH={':'.join(f'{WORKDIR}/{root}' for root in base.roots)}"] if base.roots else []),
            "RUN git update-index -q --refresh",
            "LABEL forge=task",
            "",
        ]
    )


def _script(task: Task, work: Mapping[str, bytes], commit: str, tests: str, ids: Sequence[str]) -> str:
    paths = [edit.path for edit in task.tests]
    old, new = [path for path in paths if path in work], [path for path in paths if path not in work]
    files = dict.fromkeys(name.partition("::")[0] for name in ids)
    back = f"git checkout {commit} -- {_words(old)}"
    lines = ["#!/bin/bash", "set -uxo pipefail", f"cd {WORKDIR}", f"git config --global --add safe.directory {WORKDIR}"]
    lines += [f"rm -f -- {_words(new)}"] if new else []
    lines += [back] if old else []
    lines += [*applied(tests), f": '{START}'", f"{_RUN} {_words(files)}", f": '{END}'"]
    return "\n".join([*lines, *([back] if old else []), ""])


def _words(paths: Sequence[str] | Mapping[str, None]) -> str:
    return " ".join(map(shlex.quote, paths))


def _cut(failing: Sequence[str], passing: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Both lists as swebench's parser names the tests, without names that stand for two."""
    times = Counter(name.split()[0] for name in dict.fromkeys((*failing, *passing)))
    once = [tuple(cut for name in names if times[cut := name.split()[0]] == 1) for names in (failing, passing)]
    if not once[0]:
        raise TaskError("no failing test has a name that swebench's parser can tell from others")
    return once[0], once[1]
