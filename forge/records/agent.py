"""Adapters, what was done with them, and what it was worth."""

from __future__ import annotations

from enum import StrEnum

from forge.records.base import FileEdit, Message, Record


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


class Result(Record):
    """How one rollout of a step ended, without its trajectory."""

    task_id: str
    sample: int
    outcome: Outcome


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
    """From the rollout's start to its graded end, waiting and retries included."""
    box_s: float = 0.0
    """Seconds that boxes were open for it, the one that graded it included unless another rollout's grade of the same patch was taken."""

    @property
    def tokens(self) -> int:
        """Of all prompts and answers."""
        return sum(len(turn.prompt_ids) + len(turn.completion_ids) for turn in self.turns)

    @property
    def completion_tokens(self) -> int:
        return sum(len(turn.completion_ids) for turn in self.turns)
