"""Where work comes from: histories, practice repositories, tasks, planted bugs, a teacher."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from forge.config.section import Section


class PracticeConfig(Section):
    """The generated practice repositories (`forge.nano`)."""

    repositories: int = Field(2, ge=0, le=16)
    """How many are mined, trained on and evaluated on."""
    transfer_repositories: int = Field(1, ge=0, le=4)
    """How many more are kept away from training, to measure transfer."""
    commits: int = Field(320, ge=20, le=5000)
    """Commits in each repository's history."""
    modules: int = Field(40, ge=4, le=200)
    """Source modules in each repository."""
    families: int = Field(6, ge=1, le=14)
    """Function families that the repositories of a run share, drawn by the seed: with fewer each is seen more often."""
    difficulty: float = Field(0.2, ge=0.0, le=1.0)
    """0: one shape of each function family; 0.5 and above: all its shapes."""
    faulty: float = Field(0.5, ge=0.0, le=1.0)
    """Share of features that arrive wrong: the history's fixes are made of them."""


class HistoryConfig(Section):
    """Which repositories are mined, and where tasks come from."""

    practice: PracticeConfig = PracticeConfig()
    repos: tuple[str, ...] = ()
    """Git repositories to mine beside the practice ones: folders, and for `forge mine` addresses too."""
    listed: str | None = None
    """File with a further repository a line, for `forge mine`; lines that begin with # are left out."""


class TasksConfig(Section):
    """Which tasks are wanted, and what makes one."""

    heldout_fraction: float = Field(0.4, ge=0.0, lt=1.0)
    """Share of file groups whose tasks are held out, by hash; with 0 nothing is, and files need no groups."""
    train: int = Field(200, ge=1)
    """Training tasks over all repositories; injection fills what commits do not give."""
    train_commits: int | None = Field(None, ge=0)
    """Commits tried as training tasks at most, all of them when not given. The cold start has learnt these very fixes, so
    planted bugs tell rounds more."""
    heldout: int = Field(100, ge=1)
    """Held-out tasks over all repositories."""
    transfer: int = Field(40, ge=0)
    """Tasks from the repositories that are never trained on."""
    proof_runs: int = Field(2, ge=1)
    """Times that gold and doing nothing are run for each task."""
    newest: int | None = Field(None, ge=1)
    """Candidate commits of each repository at most, newest first; all of them when not given."""
    max_files: int = Field(4, ge=1)
    """A commit that touches more Python files is no candidate."""
    new_names: bool = False
    """Take commits whose tests import names that only gold defines: features, whose statement has to name them."""
    soft: int = Field(0, ge=0)
    """Further training tasks at most from commits whose environment does not build. Nobody can run their tests: a patch is graded by how
    far it overlaps the commit's own change, and its successes count little (`rounds.soft_share`)."""
    inject: bool = True
    """Plant bugs where commits give too few tasks."""
    max_per_symbol: int = Field(2, ge=1)
    """Injected tasks per function at most: diversity before volume."""


class InjectConfig(Section):
    """Bugs planted on purpose into a repository's head (`forge tasks inject`), and how hard they are to find."""

    count: int = Field(200, ge=1)
    """Tasks wanted over all repositories."""
    min_bugs: int = Field(1, ge=1, le=8)
    """Bugs in the easiest tasks; each one is noticed by the tests on its own, so that all have to be repaired."""
    max_bugs: int = Field(1, ge=1, le=8)
    """Bugs in the hardest tasks; every number in between comes as often."""
    distance: Literal["function", "module", "repository", "mixed"] = "mixed"
    """Where the bugs of one task lie: in one function, in functions of one module, in modules of one repository, or each in turn."""
    min_failing: float = Field(0.0, ge=0.0, lt=1.0)
    """Least share of a module's tests that must fail: higher is easier to see."""
    max_failing: float = Field(0.5, gt=0.0, le=1.0)
    """Largest share of a module's tests that may fail: bugs that break an import or nearly everything tell where they are."""
    per_function: int = Field(4, ge=1)
    """Bugs planted into one function at most: diversity before volume."""
    attempts: int = Field(6, ge=1)
    """Bugs tried for one place in a task, each of another kind, before it is given up."""

    @model_validator(mode="after")
    def _ranges(self) -> InjectConfig:
        if self.min_bugs > self.max_bugs:
            raise ValueError(f"min_bugs={self.min_bugs} exceeds max_bugs={self.max_bugs}; lower the one or raise the other")
        if self.min_failing >= self.max_failing:
            raise ValueError(f"min_failing={self.min_failing} is not below max_failing={self.max_failing}; leave room between them")
        if self.max_bugs > self.per_function and self.distance in ("function", "mixed"):
            raise ValueError(
                f"max_bugs={self.max_bugs} in one function exceeds per_function={self.per_function}; raise it, or set distance=module"
            )
        return self


class TeacherConfig(Section):
    """A larger model behind an OpenAI-compatible endpoint that writes statements and instructions, and judges rows. Optional."""

    model: str | None = None
    """Its name on the endpoint; without one there is no teacher, and all that is told comes from structure alone."""
    url: str | None = None
    """Address of the endpoint, up to and with `/v1`; OpenAI's own when not given."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; the key itself is never in a configuration."""
    temperature: float = Field(0.2, ge=0.0, le=2.0)
    """Of its answers."""
    max_answer_tokens: int = Field(1024, ge=16)
    """Of one answer."""
    concurrency: int = Field(8, ge=1)
    """Questions under way from one worker."""
    request_s: float = Field(120.0, gt=0)
    """Wall clock of one question."""
    retries: int = Field(6, ge=0, le=100)
    """Times that a question is asked again, with growing pauses, when the endpoint is busy or fails."""
    prompt_price: float = Field(0.0, ge=0)
    """Money for a million tokens of questions, in whatever currency; only for the sum that is reported."""
    answer_price: float = Field(0.0, ge=0)
    """Money for a million tokens of answers."""
    extra: dict[str, Any] = {}
    """Further fields of the request's body, such as `{chat_template_kwargs: {enable_thinking: false}}`."""
