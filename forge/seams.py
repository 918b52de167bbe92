"""The places where forge meets the outside world, each a small Protocol whose docstring is the contract.

One contract suite in `tests/contract/` runs against every implementation of a seam, fakes included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from forge.errors import SandboxError
from forge.records import (
    AdapterRef,
    CommandResult,
    Commit,
    CommitSummary,
    Drop,
    Environment,
    EnvironmentSpec,
    FileEdit,
    Limits,
    Message,
    Record,
    Task,
    TeacherAnswer,
    TestRun,
    Verdict,
)


class History(Protocol):
    """Read access to one git repository, pinned to the commit that HEAD was at when it was opened.

    Contents that cannot be used come back as a `Drop` with the reason; only git itself failing raises `HistoryError`.
    """

    repo: str
    head: str

    def summaries(self, skip: int = 0, count: int | None = None) -> Iterator[CommitSummary]:
        """Commits reachable from the head, newest first, `skip` of them left out, at most `count`."""

    def listed(self, shas: Sequence[str]) -> Iterator[CommitSummary]:
        """The summaries of these commits, in their order."""

    def changed_lines(self, shas: Iterable[str]) -> dict[str, int]:
        """Added plus removed lines of each commit against its first parent."""

    def commit(self, summary: CommitSummary) -> Commit | Drop:
        """The commit with the text of its Python files before and after."""

    def contents(
        self, summaries: Iterable[CommitSummary], *, wanted: Callable[[str], bool], max_lines: int | None = None
    ) -> Iterator[Commit | Drop]:
        """The commits in their order, each with its `wanted` files and their diffs; those that change more than `max_lines` are drops."""

    def tree(self, sha: str) -> dict[str, bytes]:
        """Regular files of a commit's tree; links, submodules and files over 1 MiB are left out."""

    def close(self) -> None:
        """End the helper processes; safe to call twice."""


class Sandbox(Protocol):
    """One box with a work tree in it, used for one rollout or one grade and never again.

    No network, no privileges, limits on memory, processes, disk, output and time. A failing or killed
    command is a result; only a dead box raises `SandboxError`, and after that every call raises it.
    """

    async def run(self, argv: Sequence[str], *, timeout_s: float | None = None) -> CommandResult:
        """Result of `argv` in the work tree, environment cleared. Its whole process tree is dead on return."""

    async def write(self, files: Sequence[FileEdit]) -> None:
        """Put files into the work tree; paths that leave it raise `SandboxError`."""

    async def read(self, path: str) -> str | None:
        """Text of a file in the work tree, `None` if there is none."""

    async def run_tests(self, ids: Sequence[str], *, timeout_s: float | None = None) -> TestRun:
        """Outcome of exactly these pytest node ids (a bare file path: all tests in it), rooted in the work tree."""

    async def close(self) -> None:
        """End the box and everything in it; safe to call twice."""


class SandboxProvider(Protocol):
    """Makes boxes. `trusted_only` providers are too weak for code that forge did not generate."""

    name: str
    trusted_only: bool

    async def open(self, tree: Path, *, limits: Limits, run_id: str, environment: Environment | None = None, hash_seed: int = 0) -> Sandbox:
        """A fresh box whose work tree is a copy of the unpacked folder `tree`; raises `SandboxError`.

        Its code runs in `environment`, or in forge's own Python when there is none; `hash_seed` is the PYTHONHASHSEED of it.
        """

    async def sweep(self) -> int:
        """Remove what dead runs left behind; returns how many things were removed."""

    async def close(self) -> None:
        """End every box and helper process of this provider."""


class Environments(Protocol):
    """Builds environments on this machine and keeps them. Installs packages, never runs the repository's code."""

    def pythons(self) -> Sequence[str]:
        """Minor versions that can be had here, newest first."""

    def build(self, spec: EnvironmentSpec, roots: Sequence[str] = ()) -> Environment:
        """The environment of a spec, from the shelf when it is there; raises `TaskError` when it cannot be built."""

    def find(self, environment: Environment) -> Environment:
        """The same environment, built again from its list when it is not on this machine; raises `TaskError`."""


FindEnvironment = Callable[[str], Environment | None]
"""(id, empty for forge's own Python) → the environment, ready on this machine; raises `SandboxError` when it cannot be."""


def own_python(environment: str) -> None:
    """The `FindEnvironment` of whoever knows none."""
    if environment:
        raise SandboxError(f"the task wants the environment {environment}, which this run does not know")


class Grader(Protocol):
    """Turns a patch into a verdict in a fresh box: pristine tree, source edits only, hidden tests restored."""

    async def grade(self, task: Task, edits: Sequence[FileEdit]) -> Verdict:
        """Verdict; raises `SandboxError` when the box, not the patch, failed."""


class SampleRequest(Record):
    """One prompt, token-exact, for one model id. `choices` restricts the answer to one of these token ids."""

    model_id: str
    prompt_ids: tuple[int, ...]
    max_tokens: int
    temperature: float = 0.0
    seed: int = 0
    choices: tuple[int, ...] = ()
    grammar: str = ""
    """What the answer has to be like (see `forge.stages.grammar`); anything when empty."""
    messages: tuple[Message, ...] = ()
    """What `prompt_ids` are rendered from, for a model of another vocabulary."""


class Sample(Record):
    """A completion: ids include the end token; `choice_logprobs` has one entry for each requested choice.

    Under a grammar vLLM tells logprobs among the tokens that it left, llama.cpp those among all.
    """

    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    choice_logprobs: tuple[float, ...] = ()
    finish: Literal["stop", "length"]


class ChatModel(Protocol):
    """A server of a base and its adapters. Unknown models, time-outs and server failures raise `EndpointError`."""

    async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
        """One sample for each request, in order; requests of one call share model, limits, temperature and grammar."""


class Teacher(Protocol):
    """A larger model that explains and judges. It may be asked from any number of workers, each with its own object."""

    async def ask(self, messages: Sequence[Message]) -> TeacherAnswer:
        """Its answer, which is never empty; the same question is asked of it once.

        Raises `TeacherError` when this question got none, `TeacherRefusedError` when none will.
        """

    async def close(self) -> None:
        """End the connections; safe to call twice."""


class ChatTokenizer(Protocol):
    """A base's own chat template and vocabulary: what is sampled is what is trained on, id by id."""

    yes_id: int
    no_id: int
    end_id: int
    """The token that ends an answer."""

    def render(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Token ids of the messages, up to where the answer begins; thinking is off."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids, special tokens left out."""


class AdapterStore(Protocol):
    """Immutable adapter versions, and which one of each stage is promoted. A bad hash raises `StoreError`."""

    def add(self, folder: Path, ref: AdapterRef) -> AdapterRef:
        """The stored version; `folder` is moved in atomically and `ref.path` points to its new place."""

    def list(self, stage: str | None = None) -> list[AdapterRef]:
        """All versions, oldest first."""

    def promoted(self) -> Mapping[str, AdapterRef]:
        """The promoted version of each stage that has one."""

    def promote(self, refs: Sequence[AdapterRef]) -> None:
        """Make these the promoted versions, all or none."""


class TrainJob(Record):
    """Everything that one adapter is made of. Paths are absolute; `rows` is a Parquet file of `Example`s, or of `Preference`s for DPO."""

    stage: str
    base: str
    rows: str
    eval_rows: str | None = None
    output: str
    rank: int
    alpha: int
    learning_rate: float
    epochs: float
    batch_size: int
    max_tokens: int
    eval_fraction: float
    patience: int
    seed: int
    rslora: bool = False
    max_steps: int | None = None
    """Optimizer steps at most, whatever `epochs` asks for."""
    method: Literal["sft", "dpo"] = "sft"
    beta: float = 0.1
    """How strongly DPO keeps to the base."""
    sft_weight: float = 0.0
    """Weight of the supervised loss of the better answer beside DPO's."""
    start: str | None = None
    """Adapter folder whose weights the new adapter starts from; of the same base, rank and alpha."""
    average: str | None = None
    """Adapter folder that the trained adapter is mixed with; of the same base, rank and alpha."""
    average_weight: float = 0.0
    """Share of `average` in the mixture."""
    load_in_4bit: bool = False
    together: tuple[TrainJob, ...] = ()
    """SFT: the batches that these jobs would take, in their order and spread evenly over one run, are taken in place of `rows`.
    `batch_size` is then that of the largest one, and nothing is held back."""
    logs: str | None = None
    """Folder for TensorBoard."""
    report_to: tuple[str, ...] = ()
    """Other trackers, by the names that `transformers` knows: wandb, mlflow."""


class TrainResult(Record):
    """A finished adapter folder (PEFT format) and how its training went."""

    stage: str
    output: str
    base_sha256: str
    data_sha256: str = ""
    examples: int
    truncated: int
    metrics: dict[str, float]


class Trainer(Protocol):
    """Trains one LoRA adapter from the frozen base; refuses anything but a base with `TrainingError`."""

    def train(self, job: TrainJob) -> TrainResult:
        """The adapter of `job`; a job interrupted before continues from its last complete checkpoint."""


class Tracker(Protocol):
    """Where numbers go while a run goes on (Ray metrics, TensorBoard)."""

    def log(self, values: Mapping[str, float], *, tags: Mapping[str, str] | None = None) -> None:
        """Record the values now."""
