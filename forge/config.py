"""The configuration: one frozen pydantic tree, every default here and nowhere else.

`load(paths, overrides)` merges defaults < YAML files in order < `key=value` strings, checks the rules
that span fields, and raises `ConfigError` with one sentence for anything wrong. YAML holds deviations only.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from forge.errors import ConfigError
from forge.records import STAGES, Limits


class Section(BaseModel):
    """A frozen part of the configuration that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


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
    practice: PracticeConfig = PracticeConfig()
    repos: tuple[str, ...] = ()
    """Git repositories (folders) to mine beside the practice ones."""


class MiningConfig(Section):
    """Which commits become cold-start examples. Every drop is counted by reason."""

    max_files: int = Field(10, ge=1)
    """Commits that change more files are dropped."""
    max_changed_lines: int = Field(200, ge=1)
    """Commits whose diff has more changed lines are dropped."""
    min_message_words: int = Field(3, ge=0)
    """Messages with fewer words are poor: the statement is then written from the changed symbols and the examples in
    the tests that the commit adds; without such examples nothing says what was asked, and the commit is dropped."""
    bots: tuple[str, ...] = ("bot", "dependabot", "renovate", "github-actions")
    """Author names that contain one of these words are bots."""
    negatives: int = Field(3, ge=0)
    """Irrelevant symbols judged beside each relevant one."""
    offered: int = Field(6, ge=1)
    """Symbols that retrieval offers to analysis, as `agent.candidates` does in a rollout."""
    wrong_attempts: int = Field(1, ge=0, le=8)
    """Wrong edits made for each change: review learns from the first, planning and generation see one more rejected in each
    further row."""


class TasksConfig(Section):
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
    max_answer_tokens: int = Field(1024, ge=16)
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


class BaseModelConfig(Section):
    """A frozen base. `nano` is the one that ships with forge; anything else is a folder or a hub id."""

    model: str = "nano"
    revision: str | None = None
    load_in_4bit: bool = False
    """QLoRA on CUDA; refused on CPU."""
    max_model_tokens: int = Field(1024, ge=128)
    """Context length, in tokens, of training and serving."""


class StageConfig(Section):
    """What deviates from a stage's own defaults (`forge.stages`); `None` keeps the default."""

    base: str = "main"
    rank: int | None = Field(None, ge=1, le=256)
    learning_rate: float | None = Field(None, gt=0)
    epochs: float | None = Field(None, gt=0)
    batch_size: int | None = Field(None, ge=1)
    """Rows per optimizer step; `training.batch_size` when it is not given."""
    max_steps: int | None = Field(None, ge=1)
    """Optimizer steps at most: many rows want fewer passes than few."""
    max_answer_tokens: int | None = Field(None, ge=1)


class TrainingConfig(Section):
    backend: Literal["auto", "unsloth", "trl"] = "auto"
    """`auto`: Unsloth when CUDA is there, TRL with PEFT otherwise."""
    batch_size: int = Field(16, ge=1)
    """Rows per optimizer step."""
    eval_fraction: float = Field(0.1, ge=0.0, lt=0.5)
    """Share of rows kept back for early stopping on held-out loss; 0 trains on all of them, to the end of the schedule."""
    patience: int = Field(2, ge=1)
    """Evaluations without improvement before training stops."""
    threads: int = Field(2, ge=1)
    """CPU threads of the training worker; ignored on CUDA."""
    gpus: float = Field(0.0, ge=0.0)
    """Ray GPUs that the training worker holds."""


class ServeConfig(Section):
    host: str = "127.0.0.1"
    port: int = Field(8123, ge=1024, le=65535)
    threads: int = Field(1, ge=1)
    """CPU threads of the engine; ignored on CUDA."""
    gpus: float = Field(0.0, ge=0.0)
    max_adapters: int = Field(12, ge=1)
    """Adapter slots of the engine."""
    max_rank: int = Field(16, ge=1)
    max_sequences: int = Field(64, ge=1)
    """Sequences in one engine step."""
    kv_cache_bytes: int = Field(256 * 2**20, ge=2**20)
    """KV cache on CPU; on CUDA `gpu_memory_fraction` decides."""
    gpu_memory_fraction: float = Field(0.85, gt=0.0, le=0.98)
    start_timeout_s: float = Field(300.0, gt=0)


class AgentConfig(Section):
    """The scaffold's own settings."""

    prompt_style: Literal["brief", "full"] = "full"
    """`full` instructs in words, plans and edits line by line. `brief` is for a very small base that was trained on it (nano):
    the stage's name alone instructs, plans name symbols, an edit replaces a symbol as a whole."""
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
    accept_score: float = Field(0.5, ge=0.0, le=1.0)
    """Review scores from here on accept an attempt."""


class SandboxConfig(Section):
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


class RoundsConfig(Section):
    rft: int = Field(2, ge=0)
    """Rejection-sampling rounds after the cold start."""
    samples: int = Field(6, ge=1)
    """Trajectories sampled for each training task and round."""
    temperature: float = Field(0.8, gt=0.0, le=2.0)
    keep_per_task: int = Field(2, ge=1)
    """Distinct successes kept a task (SWE-Gym: 2 beat all)."""
    fresh_tasks: int | None = Field(None, ge=1)
    """Training tasks that each round takes on beside those left from earlier rounds; the first takes on all when not given."""
    retire: float = Field(1.0, gt=0.0, le=1.0)
    """Training tasks solved by at least this share of a round's samples are not sampled again; they stay in the rows."""
    replay: float = Field(0.15, ge=0.0, le=1.0)
    """Mined rows added, as a share of the rows from rollouts."""
    max_p: float = Field(0.05, gt=0.0, lt=1.0)
    """A round is refused when the paired test says worse at this level."""


class RayConfig(Section):
    """How a local Ray is started when none is given."""

    cpus: int | None = None
    object_store_bytes: int = Field(200 * 2**20, ge=80 * 2**20)
    dashboard_port: int = Field(8265, ge=1024, le=65535)
    port: int = Field(6399, ge=1024, le=65535)


class ForgeConfig(Section):
    """The whole run."""

    name: str = Field("quickstart", pattern=r"^[a-z0-9][a-z0-9-]*$")
    workspace: str = "workspace/{name}"
    """Folder of everything the run writes; `{name}` is replaced."""
    seed: int = Field(0, ge=0)
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
    ray: RayConfig = RayConfig()

    def stage(self, name: str) -> StageConfig:
        """Deviations of one stage; defaults when it has none."""
        return self.stages.get(name, StageConfig())

    def base_of_stages(self) -> dict[str, str]:
        """The name of the base that each stage's adapters belong to."""
        return {stage: self.stage(stage).base for stage in STAGES}

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
        if not self.history.practice.repositories and not self.history.repos:
            raise ValueError("nothing to mine: give --repo PATH, or set history.repos or history.practice.repositories")
        if self.agent.judged > self.agent.candidates:
            raise ValueError(f"agent.judged={self.agent.judged} exceeds agent.candidates={self.agent.candidates}")
        if self.mining.offered != self.agent.candidates:
            raise ValueError(
                f"mining.offered={self.mining.offered} is not agent.candidates={self.agent.candidates}: analysis would learn from "
                "other lists than it will see; set both alike"
            )
        if self.rounds.fresh_tasks and self.rounds.rft and self.rounds.fresh_tasks * self.rounds.rft < self.tasks.train:
            raise ValueError(
                f"rounds.fresh_tasks={self.rounds.fresh_tasks} in each of {self.rounds.rft} rounds leaves "
                f"some of tasks.train={self.tasks.train} unused; raise the one or lower the other"
            )
        if self.serve.max_adapters < 2 * len(STAGES):
            raise ValueError(f"serve.max_adapters={self.serve.max_adapters}: promoted and candidate adapters of five stages need 10")
        if self.tasks.transfer and self.history.practice.repositories and not self.history.practice.transfer_repositories:
            raise ValueError("tasks.transfer asks for tasks, but history.practice.transfer_repositories is 0; set one of them")
        if self.serve.port in (self.ray.dashboard_port, self.ray.port):
            raise ValueError(f"serve.port={self.serve.port} is also a port of Ray; choose another")
        return self


def load(paths: Sequence[Path], overrides: Sequence[str] = ()) -> ForgeConfig:
    """The configuration of `paths` and `overrides`; raises `ConfigError` with one sentence."""
    try:
        return ForgeConfig.model_validate(deviations(paths, overrides))
    except ValidationError as error:
        raise ConfigError(_sentence(error)) from error


def deviations(paths: Sequence[Path], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """What `paths` and `overrides` set, merged in order and not yet checked; raises `ConfigError` for unreadable ones."""
    merged: dict[str, Any] = {}
    for path in paths:
        merged = _merge(merged, _read(path))
    for override in overrides:
        merged = _merge(merged, _override(override))
    return merged


def as_value(value: Any) -> str:
    """A value as it is written after `key=` in an override."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).strip().removesuffix("...").strip()


def dump(config: ForgeConfig) -> str:
    """The resolved configuration as YAML, every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the config {path}: {error}; give a YAML file such as configs/quickstart.yaml") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a {type(content).__name__}, not a mapping of config keys")
    return content


def _override(text: str) -> dict[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigError(f"'{text}' is no override; write key=value, such as rounds.rft=1")
    try:
        nested: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of '{text}' is not valid YAML: {' '.join(str(error).split())}") from error
    for part in reversed(key.split(".")):
        nested = {part: nested}
    assert isinstance(nested, dict)
    return nested


def _merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where, list(_keys(ForgeConfig)), n=1)
        return f"unknown config key '{where}'" + (f"; did you mean '{near[0]}'?" if near else "; forge config shows all keys")
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message} (got {first['input']!r})" if where else message


def _keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")
