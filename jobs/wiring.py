"""Which implementation stands behind each seam: the one place that knows them all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from forge import nano
from forge.config import BaseModelConfig, ForgeConfig, PracticeConfig, TeacherConfig
from forge.endpoint.acting import ActingTeacher
from forge.endpoint.client import EndpointModel
from forge.endpoint.teacher import OpenAITeacher
from forge.endpoint.tokens import BaseTokenizer
from forge.errors import EnvironmentLackError, SandboxError, TaskError
from forge.nano.repository import draw_families, generate
from forge.records import EASIER, Environment, Record
from forge.rollouts.rollout import Runner
from forge.seams import ChatModel, Environments, FindEnvironment, SandboxProvider, Teacher, TrainJob
from forge.stages import REGISTRY
from forge.store.keys import KeyFile
from forge.store.trees import TreeStore
from forge.store.workspace import Workspace
from forge.tasks.on_ray import ENVIRONMENTS, INJECTED_ENVIRONMENTS
from forge.training.base import locate
from sandboxes.environments import Shelf
from sandboxes.grading import BoxGrader
from sandboxes.pick import Kind, pick


class ProviderFactory(Record):
    """Makes the sandbox provider that was picked; travels to Ray workers."""

    kind: Kind

    def __call__(self) -> SandboxProvider:
        return pick(self.kind).make()


class EnvironmentFactory(Record):
    """Makes this machine's shelf of environments; travels to Ray workers."""

    def __call__(self) -> Environments:
        return Shelf()


def known_environments(tasks: Path) -> FindEnvironment:
    """The environments that are listed in the folder of tasks, each made ready on this machine when first asked for."""
    ready: dict[str, Environment] = {}

    def find(name: str) -> Environment | None:
        if name and name not in ready:
            listed = listed_environments(tasks)
            if name not in listed:
                raise SandboxError(f"{tasks} does not list the environment {name}; run forge tasks derive again")
            try:
                ready[name] = Shelf().find(listed[name])
            except TaskError as error:
                raise SandboxError(f"the environment {name} cannot be made ready: {error}") from error
        return ready[name] if name else None

    return find


def listed_environments(tasks: Path) -> dict[str, Environment]:
    """By id, what the folder of tasks lists."""
    own = (tasks / ENVIRONMENTS, tasks / INJECTED_ENVIRONMENTS, *tasks.glob(f"{EASIER}*/{INJECTED_ENVIRONMENTS}"))
    files = [file for file in own if file.exists()]
    return {entry["id"]: Environment.model_validate(entry) for file in files for entry in json.loads(file.read_text())}


class TeacherFactory(Record):
    """Makes the configured teacher; travels to Ray workers."""

    config: TeacherConfig
    folder: str

    def __call__(self) -> Teacher:
        return OpenAITeacher(self.config, Path(self.folder))


def teacher_of(config: ForgeConfig, workspace: Workspace) -> TeacherFactory | None:
    """What makes the configured teacher, whose answers the workspace keeps; `None` when there is none."""
    return TeacherFactory(config=config.teacher, folder=str(workspace.teacher)) if config.teacher.model else None


class RunnerFactory(Record):
    """Makes a rollout worker's runner from plain values; travels to Ray workers."""

    config: ForgeConfig
    provider: ProviderFactory
    urls: dict[str, str]
    bases: dict[str, str]
    trees: str
    tasks: str
    """Folder of the tasks, which lists their environments."""
    hidden: dict[str, tuple[str, ...]]
    """Held-out files by repository: not shown to rollouts whose turns may become training rows."""
    run_id: str
    api_key: str = ""
    teacher: TeacherFactory | None = None
    """Where a teacher may act in the place of a stage."""

    def __call__(self) -> Runner:
        base_of = self.config.base_of_stages()
        tokens = {name: BaseTokenizer(Path(folder)) for name, folder in self.bases.items()}
        trees = TreeStore(Path(self.trees))
        provider = self.provider()
        environments = known_environments(Path(self.tasks))
        by_stage = {stage: tokens[base] for stage, base in base_of.items()}
        model: ChatModel = EndpointModel(self.urls, stages=self.config.base_of_adapters(), api_key=self.api_key)
        if self.teacher is not None:
            model = ActingTeacher(model, self.teacher(), by_stage)
        return Runner(
            model=model,
            tokenizers=by_stage,
            provider=provider,
            grader=BoxGrader(provider, trees.folder, self.config.sandbox.limits, self.run_id, environments=environments),
            environments=environments,
            tree_folder=trees.folder,
            agent=self.config.agent,
            sandbox=self.config.sandbox,
            max_answer_tokens=max_answer_tokens(self.config),
            context_tokens=context_tokens(self.config),
            hidden=self.hidden,
            run_id=self.run_id,
        )


def own_key(config: ForgeConfig) -> str:
    """The key by which this run asks its own endpoint; empty when that asks for none."""
    return KeyFile(Path(config.serve.keys)).own() if config.serve.keys else ""


async def sweep(make_provider: ProviderFactory) -> int:
    """Number of boxes that dead runs left behind, now removed."""
    provider = make_provider()
    try:
        return await provider.sweep()
    finally:
        await provider.close()


def make_practice(config: PracticeConfig, seed: int, name: str, folder: Path) -> None:
    """A whole practice repository in `folder`, marked as such; what an interrupted run left there is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    families = draw_families(seed, config.families)
    generate(
        folder,
        seed=seed,
        name=name,
        commits=config.commits,
        modules=config.modules,
        difficulty=config.difficulty,
        faulty=config.faulty,
        families=families,
    )
    (folder / ".git" / "forge-complete").touch()


def max_answer_tokens(config: ForgeConfig) -> dict[str, int]:
    """Longest answer of each stage, in tokens, with room to say why where the agent is to."""
    explained = config.agent.prompt_style == "explained"
    return {
        name: config.stage(name).max_answer_tokens
        or stage.defaults.max_answer_tokens + (stage.defaults.explanation_tokens if explained else 0)
        for name, stage in REGISTRY.items()
    }


def context_tokens(config: ForgeConfig) -> dict[str, int]:
    """Tokens of prompt and answer together that each stage's base takes."""
    return {stage: config.bases[base].max_model_tokens for stage, base in config.base_of_stages().items()}


def base_folder(config: BaseModelConfig) -> Path:
    """The folder of a base: the one that ships, a folder, or a download from the hub."""
    if config.model == "nano":
        if not (nano.WEIGHTS / "model.safetensors").is_file():
            raise EnvironmentLackError("this install has no nano base; make it with forge nano build")
        return nano.WEIGHTS
    return locate(config.model, config.revision).resolve()


def train_job(config: ForgeConfig, stage: str, base: Path, rows: Path, output: Path, logs: Path | None = None) -> TrainJob:
    """Everything that the adapter of a stage is made of."""
    deviations, defaults = config.stage(stage), REGISTRY[stage].defaults
    rank = deviations.rank or defaults.rank
    training = config.training
    return TrainJob(
        stage=stage,
        base=str(base),
        rows=str(rows),
        output=str(output),
        rank=rank,
        alpha=2 * rank,
        learning_rate=deviations.learning_rate or defaults.learning_rate,
        epochs=deviations.epochs or defaults.epochs,
        max_steps=deviations.max_steps,
        batch_size=deviations.batch_size or training.batch_size,
        max_tokens=config.bases[deviations.base].max_model_tokens,
        eval_fraction=training.eval_fraction,
        patience=training.patience,
        seed=config.seed,
        rslora=training.rslora,
        logs=str(logs) if logs and training.tensorboard else None,
        report_to=tuple(training.report_to),
        load_in_4bit=config.bases[deviations.base].load_in_4bit,
    )


def hidden_files(heldout: Collection[tuple[str, str]]) -> Mapping[str, tuple[str, ...]]:
    """Held-out paths by repository."""
    by_repo: dict[str, list[str]] = {}
    for repo, path in heldout:
        by_repo.setdefault(repo, []).append(path)
    return {repo: tuple(sorted(paths)) for repo, paths in by_repo.items()}
