"""The frozen records that cross forge's seams.

Each record is immutable, knows its schema version and has a content hash, so that a workspace can be
content-addressed and a run compared with another. `forge.store` derives the Parquet schemas from them.

    Commit ──► Example ──► AdapterRef        (mining, training)
      └─────► Task ──► Trajectory(Turn…) ──► Example, RoundReport   (tasks, rollouts, rounds)
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

STAGES = ("analysis", "relevance", "planning", "generation", "review")
"""The stages in the order in which the agent runs them."""

Role = Literal["system", "user", "assistant"]
Side = Literal["train", "heldout", "transfer"]


class Record(BaseModel):
    """A frozen value with a schema version and a content hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: ClassVar[int] = 1

    def content_hash(self) -> str:
        """Hex SHA-256 over type name, schema version and canonical JSON: equal content, equal hash."""
        body = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        head = f"{type(self).__name__}:{self.schema_version}:"
        return hashlib.sha256((head + body).encode()).hexdigest()


class FileEdit(Record):
    """The whole new content of one file; `None` deletes it. Paths are POSIX, relative to the repository."""

    path: str
    content: str | None


class FileChange(Record):
    """One file of a commit: UTF-8 source before and after (`None`: not there); its part of `git diff-tree -M -p` where asked for."""

    path: str
    old_path: str | None = None
    before: str | None
    after: str | None
    diff: str = ""


class Commit(Record):
    """One commit with the contents it changed. `authored_at` is ISO 8601 with offset."""

    repo: str
    sha: str
    parents: tuple[str, ...]
    author_name: str
    author_email: str
    authored_at: str
    message: str
    files: tuple[FileChange, ...]


class PathChange(Record):
    """One changed path of a commit before contents are read: git's status letter, file modes and blob ids."""

    path: str
    old_path: str | None = None
    status: str
    old_mode: str
    mode: str
    old_blob: str
    blob: str


class CommitSummary(Record):
    """A commit's metadata and changed paths, without contents: what the cheap filters look at."""

    repo: str
    sha: str
    parents: tuple[str, ...]
    author_name: str
    author_email: str
    authored_at: str
    message: str
    changes: tuple[PathChange, ...]


class Drop(Record):
    """Something left out; `reason` is the short phrase under which it is counted."""

    sha: str
    reason: str


class Message(Record):
    """One chat message."""

    role: Role
    content: str


class TeacherAnswer(Record):
    """What a teacher said, `cut` by its limit or not, and the tokens it took; `cached` when nothing was asked this time."""

    text: str
    cut: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: bool = False


class Symbol(Record):
    """A function or method in a file: lines are 1-based and inclusive, `source` is their exact text."""

    path: str
    name: str
    signature: str
    source: str
    first_line: int
    last_line: int

    @property
    def key(self) -> str:
        """`path::name`, the way prompts and plans name a symbol."""
        return f"{self.path}::{self.name}"


class Lineage(Record):
    """Where a training row comes from: a commit, or a task and the trajectory that solved it."""

    repo: str
    commit: str | None = None
    task_id: str | None = None
    trajectory_id: str | None = None
    lender_id: str | None = None
    """The trajectory of another task that the answer is from, where it is lent (`forge.rounds.lend`)."""
    round: int = 0
    files: tuple[str, ...] = ()


class Example(Record):
    """One training row of one stage.

    Rows from rollouts carry the very token ids that were sampled (`prompt_ids`, `completion_ids`, the
    end token included) and are trained on these; rows from commits carry text only and go through the
    base's chat template.
    """

    stage: str
    messages: tuple[Message, ...]
    completion: str
    prompt_ids: tuple[int, ...] = ()
    completion_ids: tuple[int, ...] = ()
    lineage: Lineage


class Preference(Record):
    """One prompt of one stage with a better and a worse answer to it, for DPO; token-exact or text alone, as in `Example`."""

    stage: str
    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    prompt_ids: tuple[int, ...] = ()
    chosen_ids: tuple[int, ...] = ()
    rejected_ids: tuple[int, ...] = ()
    lineage: Lineage


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


class AdapterRef(Record):
    """One immutable adapter version; `model_id` (such as `generation@r2-3f9c`) is its name on the endpoint."""

    stage: str
    version: str
    round: int
    path: str
    base: str
    base_sha256: str
    data_sha256: str
    rank: int
    examples: int
    metrics: dict[str, float] = {}

    @property
    def model_id(self) -> str:
        return f"{self.stage}@{self.version}"


class Turn(Record):
    """One call of one stage, token-exact: `logprobs` are of `completion_ids`, in nats, one each."""

    stage: str
    model_id: str
    attempt: int = 0
    messages: tuple[Message, ...]
    text: str
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    parsed: bool = True
    score: float | None = None
    """Probability of yes for a judgement stage."""
    subject: str = ""
    """What the turn was about or what its answer names: symbol keys (`path::name`), one a line."""
    choice_ids: tuple[int, ...] = ()
    """For a judgement, the token ids of yes, no and the end of a turn."""
    seconds: float = 0.0


class Outcome(StrEnum):
    """How a rollout ended. Only `solved` and `failed` are graded; `infra_error` is retried and masked."""

    SOLVED = "solved"
    FAILED = "failed"
    AGENT_ERROR = "agent_error"
    INFRA_ERROR = "infra_error"


class Verdict(Record):
    """The grade of one patch in a fresh box: `passed` only if every named test did."""

    passed: bool
    reason: str
    failed_ids: tuple[str, ...] = ()
    seconds: float = 0.0
    flags: tuple[str, ...] = ()
    """What a reader of the patch should look at; by itself it fails nothing."""
    weak: bool = False
    """Read from a log or a file that the code under test could write, as public sets are graded."""


class Trajectory(Record):
    """One rollout of the staged agent on one task, every turn kept."""

    id: str
    task_id: str
    repo: str
    round: int
    step: str
    """The part of the run it belongs to, such as `collect-1` or `evaluate-cold-start`."""
    sample: int
    seed: int
    temperature: float
    turns: tuple[Turn, ...]
    edits: tuple[FileEdit, ...] = ()
    patch: str = ""
    outcome: Outcome
    reason: str = ""
    review_score: float | None = None
    repairs: int = 0
    verdict: Verdict | None = None
    infra_retries: int = 0
    seconds: float = 0.0

    @property
    def completion_tokens(self) -> int:
        return sum(len(turn.completion_ids) for turn in self.turns)


class Interval(Record):
    """A two-sided 95 % interval of a proportion."""

    low: float
    high: float


class StepReport(Record):
    """One evaluated step of the loop on the held-out tasks."""

    name: str
    round: int
    pass_at_1: float
    ci95: Interval
    solved: int
    tasks: int
    promoted: bool
    paired_p: float | None = None
    """Two-sided exact McNemar p against the step that was promoted before it."""
    outcomes: dict[str, int] = {}
    stage_scores: dict[str, float] = {}


class RoundReport(Record):
    """What one round did: examples a stage, rollouts by outcome, the evaluated step, the decision."""

    round: int
    name: str
    examples: dict[str, int]
    collected: dict[str, int] = {}
    dropped: dict[str, int] = {}
    step: StepReport
    decision: str
    adapters: dict[str, str]
    """Model id of the promoted adapter per stage after this round."""
    seconds: float = 0.0


class CommandResult(Record):
    """What a command in a box did. A non-zero exit, a time-out and a breached limit are results."""

    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    breach: Literal["", "time", "memory", "pids", "output", "disk"] = ""


class TestRun(Record):
    """Outcome of each requested test id; `complete` is false when the run died, lied or was cut short."""

    outcomes: dict[str, Literal["passed", "failed", "error", "skipped", "missing"]]
    complete: bool
    reason: str = ""
    messages: dict[str, str] = {}
    """For each failed id the assertion message, at most 400 characters."""
    lines: dict[str, int] = {}
    """For each failed id the line of its test file at which it failed, where it came from there."""
    seconds: float = 0.0


class Limits(Record):
    """Limits of one box."""

    memory_bytes: int = 512 * 2**20
    pids: int = 64
    disk_bytes: int = 64 * 2**20
    output_bytes: int = 2**20
    command_s: float = 20.0


class EnvironmentSpec(Record):
    """What an environment is made from: the newest packages that fit, of those published before a day (ISO date)."""

    python: str
    """Minor version, such as `3.9`."""
    requirements: tuple[str, ...]
    before: str
    project: str = ""
    """Distribution name of the repository itself, which is imported from the work tree and never installed."""


class Environment(Record):
    """Where a repository's code runs: a Python and installed packages, read-only in every box."""

    id: str
    spec: EnvironmentSpec
    interpreter: str
    """Path of the Python, the same on the host and in a box."""
    roots: tuple[str, ...] = ()
    """Folders of the work tree to import from, beside the tree itself."""
    plugins: tuple[str, ...] = ()
    """Modules of pytest plugins that are installed, to be named to pytest: it loads none by itself."""
    installed: tuple[str, ...] = ()
    """`name==version` of every package: what an evicted environment is built from again."""
    lacking: tuple[str, ...] = ()
    """Requirements that nothing could be installed for."""
