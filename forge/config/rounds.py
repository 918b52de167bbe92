"""Rounds: what each one samples, keeps and costs, and when the loop changes course."""

from __future__ import annotations

from pydantic import Field, model_validator

from forge.config.prompts import WRITING, PromptFile
from forge.config.section import Section
from forge.records import STAGES


class BudgetConfig(Section):
    """What a run may cost in all; a round that has begun is finished. Nothing is limited unless it is given."""

    wall_s: float | None = Field(None, gt=0)
    """Seconds of all phases together, those of earlier starts counted in."""
    tokens: int | None = Field(None, ge=1)
    """Prompt and answer tokens of all rollouts."""
    gpu_hours: float | None = Field(None, gt=0)
    """GPUs held by serving and training, times hours."""
    money: float | None = Field(None, gt=0)
    """GPU hours at `gpu_hour_price` and a teacher's tokens at its prices, in whatever currency."""
    gpu_hour_price: float = Field(0.0, ge=0)
    """Money for one GPU for an hour."""

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, by key."""
        named = {"wall_s": self.wall_s, "tokens": self.tokens, "gpu_hours": self.gpu_hours, "money": self.money}
        return {key: float(value) for key, value in named.items() if value is not None}


SEARCHABLE = (
    *("judged", "planned", "visible_test_files", "repairs", "samples", "accept_score", "retry_temperature"),
    *(f"temperatures.{stage}" for stage in WRITING),
)
"""Keys of `agent` that can be searched, beside prompts."""


class ScaffoldConfig(Section):
    """Rounds that search the agent's own settings instead of training: how much it looks at, how often it tries again, and how boldly."""

    trials: int = Field(0, ge=0)
    """Settings tried in such a round, the ones in use included; 0 leaves these rounds out."""
    tasks: int = Field(60, ge=1)
    """Training tasks that each of them is tried on."""
    every: int = Field(2, ge=1)
    """Training rounds between two of them."""
    search: tuple[str, ...] = ("judged", "planned", "visible_test_files", "repairs", "samples", "accept_score", "retry_temperature")
    """Keys of `agent` that are searched, of those: the ones named here, and `temperatures.` with a stage that writes."""
    prompts: dict[str, tuple[PromptFile, ...]] = {}
    """By stage: files of instructions to try beside what instructs it now, such as `configs/prompts/planning-cause-first.txt`."""
    token_price: float = Field(0.02, ge=0.0)
    """Share of tasks that twice the tokens must bring to be worth them; 0 looks at what is solved alone."""

    @model_validator(mode="after")
    def _something_to_compare(self) -> ScaffoldConfig:
        if unknown := [name for name in self.search if name not in SEARCHABLE]:
            raise ValueError(f"search: '{unknown[0]}' cannot be searched; what can be is {', '.join(SEARCHABLE)}")
        if strange := [stage for stage in self.prompts if stage not in STAGES]:
            raise ValueError(f"prompts.{strange[0]}: there is no such stage; the stages are {', '.join(STAGES)}")
        if self.trials == 1:
            raise ValueError("trials=1 would try what is in use alone; give 2 or more, or 0 to leave the search out")
        return self


class RoundsConfig(Section):
    """The loop after the cold start."""

    limit: int = Field(2, ge=0)
    """Rounds after the cold start at most; the loop stops earlier when it has run out of levers or of budget."""
    samples: int = Field(6, ge=1)
    """Trajectories sampled for each training task and round, on average."""
    probe: int = Field(3, ge=1)
    """Samples of each task before the rest are shared out: to tasks solved sometimes first, up to twice `samples` each."""
    temperature: float = Field(0.8, gt=0.0, le=2.0)
    """Of sampled rollouts; evaluations are greedy."""
    keep_per_task: int = Field(2, ge=1)
    """Distinct successes kept a task (SWE-Gym: 2 beat all)."""
    repository_share: float = Field(0.6, gt=0.0, le=1.0)
    """Share of the kept successes that one repository may give where there are several."""
    soft_share: float = Field(0.2, ge=0.0, lt=1.0)
    """Share of the kept successes that may come from tasks graded without tests (`tasks.soft`)."""
    fresh_tasks: int | None = Field(None, ge=1)
    """Training tasks that each round takes on beside those left from earlier rounds; the first takes on all when not given."""
    retire: float = Field(1.0, gt=0.0, le=1.0)
    """Training tasks solved by at least this share of a round's samples are not sampled again; they stay in the rows."""
    patience: int = Field(2, ge=1)
    """Rounds that a task may go unsolved before it waits as many rounds."""
    regression: int = Field(0, ge=0)
    """Retired training tasks that are evaluated beside the held-out ones: what was solved is to stay solved."""
    replay: float = Field(0.15, ge=0.0, le=1.0)
    """Mined rows added, as a share of the rows from rollouts."""
    aligned_share: float = Field(0.0, ge=0.0, le=4.0)
    """Rows that `forge align` left in the workspace added to the cold start's generation rows, as a share of the mined ones; what
    comes of held-out files, or shows something of them, is left out."""
    max_p: float = Field(0.05, gt=0.0, lt=1.0)
    """Level of the paired tests: below it a round is proven better, or worse and refused."""
    second_look: int = Field(2, ge=0)
    """Further samples of each held-out task, for the old and the new adapters, when a round looks worse and no test says so."""
    bootstrap_solves: int = Field(100, ge=0)
    """Different training tasks that the agent must have solved by itself before it is trained on its own answers."""
    plateau: int = Field(2, ge=1)
    """Rounds that may pass without a proven gain before the loop changes something."""
    more_tasks: int = Field(0, ge=0)
    """Further training tasks that are proven and taken on when the rounds gain nothing any more; 0 leaves this lever out."""
    easier_tasks: int = Field(60, ge=0)
    """Easier training tasks that are made and taken on where too few are solved to learn from oneself and no teacher is there to show
    how, or where the rounds gain nothing and most tasks go unsolved; 0 leaves this out, as `tasks.inject=false` does."""
    easier_failing: float = Field(0.1, ge=0.0, lt=0.5)
    """Least share of a module's tests that the bug of an easier task fails: what breaks much is seen easily."""
    most_samples: int = Field(12, ge=1)
    """Samples a task may come to when the rounds gain nothing any more."""
    preference_pairs: int = Field(50, ge=0)
    """Pairs of a solved and a failed answer that a stage needs before a DPO round trains it; 0 leaves DPO rounds out."""
    best_of: int = Field(0, ge=0)
    """Answers sampled for each held-out task when the rounds are over, to measure what choosing by review is worth; 0 leaves it out."""
    scaffold: ScaffoldConfig = ScaffoldConfig()
    budget: BudgetConfig = BudgetConfig()

    @model_validator(mode="after")
    def _ranges(self) -> RoundsConfig:
        if self.probe > self.samples:
            raise ValueError(f"probe={self.probe} exceeds samples={self.samples}; lower the one or raise the other")
        if self.most_samples < self.samples:
            raise ValueError(f"most_samples={self.most_samples} is below samples={self.samples}; raise it")
        return self
