"""`forge evaluate`: which suites, which model, how it is asked."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from forge.config.section import Section


class EvaluationConfig(Section):
    """`forge evaluate`: public suites, or a workspace's held-out tasks."""

    suites: tuple[str, ...] = ()
    """Names of the suites, in the order in which they are evaluated."""
    data: str | None = None
    """A suite's file, or a folder with a file or folder named as each suite; without it the hub is asked. For `heldout` alone it is
    the workspace with the tasks, which is otherwise that of the run."""
    trees: str | None = None
    """For `swebench`: a folder that holds each instance's tree by its id, or clones named `owner__name`."""
    out: str = "workspace/evaluation"
    """Folder of samples and results, one a suite."""
    model: str | None = None
    """Its name on the endpoint: coding suites ask the base `main` when not given, agents take what is promoted."""
    url: str | None = None
    """Address of the endpoint; when not given, the workspace's own is started for as long as it takes."""
    key_variable: str = "FORGE_API_KEY"
    """Environment variable that holds the endpoint's key; the key itself is never in a configuration."""
    samples: int = Field(1, ge=1, le=1000)
    """Answers to each problem."""
    temperature: float = Field(0.0, ge=0.0, le=2.0)
    """0 is greedy."""
    limit: int | None = Field(None, ge=1)
    """The first so many problems only."""
    max_answer_tokens: int = Field(2048, ge=1)
    """Of one answer to a coding suite."""
    prompt_chars: int | None = Field(None, ge=1)
    """Of CrossCodeEval's code before the cursor, the last so many characters; all when not given."""
    extra: dict[str, Any] = {}
    """Further fields of the request's body, such as `{chat_template_kwargs: {enable_thinking: false}}`."""
    concurrency: int = Field(8, ge=1)
    """Problems under way in one worker."""
    workers: int = Field(2, ge=1)
    """Ray actors that ask and examine."""
    request_s: float = Field(300.0, gt=0)
    """Wall clock of one question."""
    retries: int = Field(4, ge=0, le=100)
    """Times that a question is asked again, with growing pauses, when the endpoint is busy or fails."""
    memory_bytes: int = Field(2 * 2**30, ge=2**26)
    """Memory of one box in which an answer runs."""
    solve_s: float = Field(600.0, gt=0)
    """For `swebench`: wall clock of one instance."""
    pull: bool = False
    """For `swebench`: fetch the images that are not here."""

    @model_validator(mode="after")
    def _samples_differ(self) -> EvaluationConfig:
        if self.samples > 1 and self.temperature == 0.0:
            raise ValueError(f"{self.samples} samples at temperature 0 are one and the same; give a temperature, such as 0.8")
        return self
