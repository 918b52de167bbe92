"""The whole run: the loop's own parts, and the rules across all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from forge.config.ablation import AblationConfig
from forge.config.align import AlignConfig
from forge.config.evaluation import EvaluationConfig
from forge.config.mining import MiningConfig
from forge.config.models import BaseModelConfig, ServeConfig, StageConfig, TrainingConfig
from forge.config.prompts import WRITING, PromptFile
from forge.config.rounds import RoundsConfig
from forge.config.section import Section
from forge.config.sources import HistoryConfig, InjectConfig, TasksConfig, TeacherConfig
from forge.records import COMBINED, STAGES, Limits


class AgentConfig(Section):
    """The scaffold's own settings."""

    prompt_style: Literal["brief", "full", "explained"] = "full"
    """`full` instructs in words, plans and edits line by line. `explained` is `full`, but analysis and planning say why before they
    answer, as they learn from the changes that a teacher explained (`mining.enrich.explain`): no default, since it takes a teacher,
    and some hundred tokens more of every analysis and plan. `brief` is for a very small base that was trained on it (nano): the
    stage's name alone instructs, plans name symbols, an edit replaces a symbol as a whole."""
    candidates: int = Field(6, ge=1)
    """Symbols that lexical retrieval offers to analysis."""
    judged: int = Field(4, ge=1)
    """Symbols that relevance judges."""
    planned: int = Field(2, ge=1)
    """Relevant symbols that planning and generation see at most."""
    visible_test_files: int = Field(3, ge=0)
    """Test files of the work tree that an attempt is run against at most."""
    repairs: int = Field(1, ge=0)
    """Further attempts after a rejected one."""
    samples: int = Field(1, ge=1, le=8)
    """Plans, each with its edits, drawn side by side in the place of one attempt; review chooses among them. What is greedy draws one,
    then the others at `retry_temperature`."""
    accept_score: float = Field(0.5, ge=0.0, le=1.0)
    """Review scores from here on accept an attempt."""
    retry_temperature: float = Field(0.0, ge=0.0, le=2.0)
    """Temperature of further attempts in rollouts that are greedy otherwise; at 0 an answer that cannot be used ends those."""
    structured: bool = False
    """The engine lets analysis and planning draw only what their parsers take: numbers and lines that were shown. Costs a few
    milliseconds of CPU a request (docs/stages.md). A teacher in the place of a stage is asked without."""
    mend: bool = False
    """An answer that the parser refuses is shown to the stage with the parser's sentence, and asked for once more, before the
    attempt ends. The prompt is longer by both, for which bases.*.max_model_tokens must have room."""
    temperatures: dict[str, Annotated[float, Field(ge=0.0, le=2.0)]] = {}
    """By stage that writes: its temperature in place of the rollout's own wherever that is not greedy."""
    prompts: dict[str, PromptFile] = {}
    """By stage: a file of instructions in place of the stage's own words. Mined rows are taught under them too."""

    @model_validator(mode="after")
    def _of_stages(self) -> AgentConfig:
        for stage in self.temperatures:
            if stage not in WRITING:
                raise ValueError(f"temperatures.{stage}: no stage of that name is sampled; those that write are {', '.join(WRITING)}")
        for stage in self.prompts:
            if stage not in STAGES:
                raise ValueError(f"prompts.{stage}: there is no such stage; the stages are {', '.join(STAGES)}")
        if self.prompts and self.prompt_style == "brief":
            raise ValueError("prompts: in prompt_style brief a stage's name alone instructs; set prompt_style=full, or leave them out")
        return self


class SandboxConfig(Section):
    """Where untrusted code runs, and how many at once."""

    kind: Literal["auto", "docker", "bubblewrap", "confined"] = "auto"
    """`auto`: Docker when an engine answers, else bubblewrap, else confined (practice repositories only)."""
    workers: int = Field(2, ge=1)
    """Ray actors that run rollouts."""
    concurrency: int = Field(16, ge=1)
    """Rollouts under way in one actor."""
    limits: Limits = Limits()
    rollout_s: float = Field(120.0, gt=0)
    """Wall clock of one rollout."""
    infra_retries: int = Field(3, ge=0)
    """Fresh starts of a rollout whose infrastructure failed, before it is masked."""


class RayConfig(Section):
    """How a local Ray is started when none is given."""

    cpus: int | None = None
    """Cores that it may use; all when not given."""
    object_store_bytes: int = Field(200 * 2**20, ge=80 * 2**20)
    """Shared memory for what its processes pass on."""
    dashboard_port: int = Field(8265, ge=1024, le=65535)
    """Of the dashboard and its jobs."""
    port: int = Field(6399, ge=1024, le=65535)
    """Of the head itself."""


class ForgeConfig(Section):
    """The whole run."""

    name: str = Field("quickstart", pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Of the run, and of its workspace where none is given."""
    workspace: str = "workspace/{name}"
    """Folder of everything the run writes; `{name}` is replaced."""
    seed: int = Field(0, ge=0)
    """Of everything that is drawn: practice repositories, splits, samples, weights."""
    history: HistoryConfig = HistoryConfig()
    mining: MiningConfig = MiningConfig()
    tasks: TasksConfig = TasksConfig()
    inject: InjectConfig = InjectConfig()
    teacher: TeacherConfig = TeacherConfig()
    bases: dict[str, BaseModelConfig] = {"main": BaseModelConfig()}
    stages: dict[str, StageConfig] = {}
    training: TrainingConfig = TrainingConfig()
    serve: ServeConfig = ServeConfig()
    agent: AgentConfig = AgentConfig()
    sandbox: SandboxConfig = SandboxConfig()
    rounds: RoundsConfig = RoundsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    align: AlignConfig = AlignConfig()
    ablation: AblationConfig = AblationConfig()
    ray: RayConfig = RayConfig()

    def stage(self, name: str) -> StageConfig:
        """Deviations of one stage; defaults when it has none."""
        return self.stages.get(name, StageConfig())

    def base_of_stages(self) -> dict[str, str]:
        """The name of the base that each stage's adapters belong to."""
        return {stage: self.stage(stage).base for stage in STAGES}

    def base_of_adapters(self) -> dict[str, str]:
        """The same, and that of adapters which serve all stages, where these share a base."""
        bases = self.base_of_stages()
        return bases | ({COMBINED: bases[STAGES[0]]} if len(set(bases.values())) == 1 else {})

    @property
    def workspace_path(self) -> Path:
        return Path(self.workspace.format(name=self.name)).expanduser().resolve()

    @model_validator(mode="after")
    def _rules_across_fields(self) -> ForgeConfig:
        for stage, deviations in self.stages.items():
            if stage not in STAGES:
                raise ValueError(f"stages.{stage}: there is no such stage; the stages are {', '.join(STAGES)}")
            if deviations.base not in self.bases:
                raise ValueError(f"stages.{stage}.base is '{deviations.base}', which is not one of bases: {sorted(self.bases)}")
        if "main" not in self.bases and set(STAGES) - set(self.stages):
            raise ValueError("bases has no 'main', which stages without a base of their own use; add it")
        ranks = [s.rank for s in self.stages.values() if s.rank is not None]
        if ranks and max(ranks) > self.serve.max_rank:
            raise ValueError(f"serve.max_rank={self.serve.max_rank} is below a stage's rank {max(ranks)}; raise it")
        if not (self.history.practice.repositories or self.history.repos or self.history.listed):
            raise ValueError("nothing to mine: give --repo PATH, or set history.repos or history.practice.repositories")
        if self.agent.judged > self.agent.candidates:
            raise ValueError(f"agent.judged={self.agent.judged} exceeds agent.candidates={self.agent.candidates}")
        if self.agent.prompt_style == "explained" and not (self.mining.enrich.explain and self.teacher.model):
            raise ValueError(
                "agent.prompt_style is explained, but nobody explains: set mining.enrich.explain=true and teacher.model, or take full"
            )
        if self.rounds.scaffold.prompts and self.agent.prompt_style == "brief":
            raise ValueError(
                "rounds.scaffold.prompts has prompts to try, but in agent.prompt_style brief a stage's name alone instructs; "
                "set it to full, or leave them out"
            )
        if self.mining.offered != self.agent.candidates:
            raise ValueError(
                f"mining.offered={self.mining.offered} is not agent.candidates={self.agent.candidates}: analysis would learn from "
                "other lists than it will see; set both alike"
            )
        if self.rounds.fresh_tasks and self.rounds.limit and self.rounds.fresh_tasks * self.rounds.limit < self.tasks.train:
            raise ValueError(
                f"rounds.fresh_tasks={self.rounds.fresh_tasks} in each of {self.rounds.limit} rounds leaves "
                f"some of tasks.train={self.tasks.train} unused; raise the one or lower the other"
            )
        for name, base in self.bases.items():
            if base.served_weights and self.serve.engine == "llama":
                raise ValueError(
                    f"bases.{name}.served_weights is for vLLM, not for serve.engine=llama, which has serve.gguf_weights; leave out one"
                )
        if self.serve.replicas.several and self.serve.gpus > 0 and self.training.gpus > 0 and self.serve.gpus + self.training.gpus <= 1:
            raise ValueError(
                f"serve.replicas.max={self.serve.replicas.max}, but serving and training take turns on one card; give serving cards of its "
                "own (serve.gpus=1), or one replica"
            )
        if self.serve.max_adapters < 2 * len(STAGES):
            raise ValueError(f"serve.max_adapters={self.serve.max_adapters}: promoted and candidate adapters of five stages need 10")
        if self.tasks.transfer and self.history.practice.repositories and not self.history.practice.transfer_repositories:
            raise ValueError("tasks.transfer asks for tasks, but history.practice.transfer_repositories is 0; set one of them")
        if self.serve.port in (self.ray.dashboard_port, self.ray.port):
            raise ValueError(f"serve.port={self.serve.port} is also a port of Ray; choose another")
        return self
