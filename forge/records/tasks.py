"""Executable tasks and the proofs of them."""

from __future__ import annotations

from typing import ClassVar, Literal

from forge.records.base import FileEdit, Record

Side = Literal["train", "heldout", "transfer"]


class Proof(Record):
    """What was run to prove a task: `runs` of gold and of doing nothing, and how many ids flaked."""

    runs: int
    gold_passed: bool
    noop_failed: bool
    flaky_ids: int = 0
    seconds: float = 0.0


class Twin(Record):
    """A hidden test in a version that must fail where the test passes: it finds out reports that were made up."""

    path: str
    name: str
    """Qualified name of the test function, such as `TestThing.test_a`."""
    kind: Literal["inverted", "changed"]
    """Passes only if the test's body raises, or expects something else."""
    source: str
    """The whole altered function under its old name, not indented."""


class Task(Record):
    """An executable task: a tree, a statement, hidden tests, and the proof that gold solves it.

    The work tree is the snapshot `tree` (content hash of a tar in the workspace) with `setup` written
    over it: for an injected bug the broken file, and for every task the tests without the hidden ones.
    `gold` solves it; grading writes `tests` over the result and runs both lists of exact node ids.
    """

    schema_version: ClassVar[int] = 2

    id: str
    repo: str
    base_commit: str
    origin: Literal["commit", "injected"]
    operator: str = ""
    statement: str
    statement_by: Literal["people", "tests", "teacher"] = "tests"
    """Who said what is wrong: whoever wrote the commit's message, the failing tests alone, or a teacher."""
    tree: str
    setup: tuple[FileEdit, ...] = ()
    gold: tuple[FileEdit, ...]
    tests: tuple[FileEdit, ...]
    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...]
    files: tuple[str, ...]
    """Every file the task touches, sources and tests: what the split hashes."""
    side: Side | None = None
    commit: str | None = None
    """The commit that the task was derived from, when `origin` is `commit`."""
    proof: Proof | None = None
    environment: str = ""
    """Id of the environment that its code runs in; empty for forge's own Python."""
    twins: tuple[Twin, ...] = ()
    """Proven with gold; none where no hidden test takes one."""

    @property
    def soft(self) -> bool:
        """No test of it can be run: it is not proven, and grades say how far a patch overlaps the gold change."""
        return not self.fail_to_pass


class Attachment(Record):
    """One file that travels with an instance, as base64 of its bytes."""

    path: str
    data: str
    executable: bool = False


class Instance(Record):
    """A task of a public set: an image that holds its repository, and a script of its own that grades it.

    The start is the image's `workdir` with `bug_patch` applied; `gold_patch` solves it from there. `eval_script` puts
    the hidden tests in place by itself. All patches are unified diffs as git writes them.
    """

    id: str
    set: str
    """Which set it is from, one of the names of `forge.tasks.public.sets`."""
    repo: str
    base_commit: str
    version: str = ""
    image: str
    workdir: str
    statement: str
    gold_patch: str = ""
    gold_script: str = ""
    """Bash that solves it, where a set ships its solution as a script."""
    test_patch: str = ""
    bug_patch: str = ""
    fail_to_pass: tuple[str, ...] = ()
    pass_to_pass: tuple[str, ...] = ()
    expected: dict[str, str] = {}
    """The status of every test after the fix, for `eval_type` `status_map`."""
    eval_script: str
    eval_type: Literal["pass_and_fail", "fail_only", "status_map", "reward"]
    """How the log is judged: by the two lists of tests, by their failures only, by `expected`, or by a reward file."""
    log_parser: str = ""
    """Name of swebench's parser of the log, for the first two kinds."""
    attachments: tuple[Attachment, ...] = ()
    fields: str = "{}"
    """JSON of what the row says beyond all this, and of how it said it: with it the very row can be written again."""
